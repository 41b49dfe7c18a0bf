import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { bundledPackages, merged, noticesText, parseNotices } from "@peerbar/tsup-config/notices";
import { build } from "esbuild";

/** Where the built template is. */
export const templatePath = fileURLToPath(new URL("dist/template.html", import.meta.url));

/** Where the build leaves what is in the page of others: a JSON list of name, version, license and text. */
export const noticesPath = fileURLToPath(new URL("dist/notices.json", import.meta.url));

const source = (path) => fileURLToPath(new URL(`src/page/${path}`, import.meta.url));

/** Data that p2pdma took from others. */
const data = new URL("../../packages/p2pdma/THIRD-PARTY-NOTICES", import.meta.url);

async function bundle(path) {
  const { outputFiles, metafile } = await build({
    entryPoints: [source(path)],
    outdir: "dist",
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
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
  return { text: outputFiles[0].text.trim(), packages: bundledPackages(metafile) };
}

const digest = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** The page is sent about alone, so the licences of what is in it go with it. */
function licences(packages) {
  const text = noticesText(packages);
  if (/--!?>|<!--/.test(text)) throw new Error("a licence would end the comment it is in");
  return `<!--\nThis page is a part of peerbar (Apache-2.0). In it are, with these licences:\n\n${text}-->\n`;
}

/**
 * Bundles the page into one HTML template with a place for the data: no other file, and a policy that lets it run this script and no
 * other, and reach no network.
 *
 * @returns the template, and the packages of others in it
 */
async function buildPage() {
  const [script, style] = await Promise.all([bundle("main.tsx"), bundle("style.css")]);
  if (/<\/script|<!--/i.test(script.text)) throw new Error("the script would end its own element");
  const policy = [
    "default-src 'none'",
    `script-src ${digest(script.text)}`,
    `style-src ${digest(style.text)}`,
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const parts = {
    "%POLICY%": policy,
    "%STYLE%": style.text,
    "%SCRIPT%": script.text,
  };
  const html = readFileSync(source("page.html"), "utf8").replace(
    /%(?:POLICY|STYLE|SCRIPT)%/g,
    (mark) => parts[mark],
  );
  const packages = merged(script.packages, parseNotices(readFileSync(data, "utf8")));
  return { html: `${html.trimEnd()}\n${licences(packages)}`, packages };
}

/** The template alone. @returns {Promise<string>} */
export async function buildTemplate() {
  return (await buildPage()).html;
}

/** Builds the template into dist, whole or not at all, and beside it what is in it of others. */
export async function writeTemplate() {
  const { html, packages } = await buildPage();
  mkdirSync(dirname(templatePath), { recursive: true });
  for (const [path, text] of [
    [noticesPath, JSON.stringify(packages)],
    [templatePath, html],
  ]) {
    const draft = `${path}.${randomUUID()}`;
    writeFileSync(draft, text);
    renameSync(draft, path);
  }
  return templatePath;
}

if (argv[1] === fileURLToPath(import.meta.url)) await writeTemplate();
