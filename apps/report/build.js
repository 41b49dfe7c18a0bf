import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** Where the built template is. */
export const templatePath = fileURLToPath(new URL("dist/template.html", import.meta.url));

const source = (path) => fileURLToPath(new URL(`src/page/${path}`, import.meta.url));

async function bundle(path) {
  const { outputFiles } = await build({
    entryPoints: [source(path)],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    platform: "browser",
    target: ["chrome115", "firefox115", "safari16.4"],
    conditions: ["@peerbar/source"],
    charset: "utf8",
    legalComments: "none",
    jsx: "automatic",
    jsxImportSource: "preact",
    define: { "process.env.NODE_ENV": '"production"' },
  });
  return outputFiles[0].text.trim();
}

const digest = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/**
 * Bundles the page into one HTML template with a place for the data: no other file, and a policy that lets it run this script and no
 * other, and reach no network.
 *
 * @returns {Promise<string>} the template
 */
export async function buildTemplate() {
  const [script, style] = await Promise.all([bundle("main.tsx"), bundle("style.css")]);
  if (/<\/script|<!--/i.test(script)) throw new Error("the script would end its own element");
  const policy = [
    "default-src 'none'",
    `script-src ${digest(script)}`,
    `style-src ${digest(style)}`,
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const parts = {
    "%POLICY%": policy,
    "%STYLE%": style,
    "%SCRIPT%": script,
  };
  return readFileSync(source("page.html"), "utf8").replace(
    /%(?:POLICY|STYLE|SCRIPT)%/g,
    (mark) => parts[mark],
  );
}

/** Builds the template into dist, whole or not at all. */
export async function writeTemplate() {
  const html = await buildTemplate();
  mkdirSync(dirname(templatePath), { recursive: true });
  const draft = `${templatePath}.${randomUUID()}`;
  writeFileSync(draft, html);
  renameSync(draft, templatePath);
  return templatePath;
}

if (argv[1] === fileURLToPath(import.meta.url)) await writeTemplate();
