import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { room, root } from "./paths.mjs";

/**
 * Test files as plain JavaScript for the machine. Emulated processors take minutes to transform a package's sources, so this computer
 * does it: one bundle with shared chunks, read from sources, with vitest's runner and expect in place of vitest itself.
 *
 * A module's own address stays that of its source, so that what it reads and requires is found as ever.
 *
 * @param {string[]} files paths in the checkout, relative to its root
 * @param {string} folder where the bundle goes; its entry is main.mjs
 */
export async function bundleTests(files, folder) {
  const imports = files.map(
    (file) => `  [${JSON.stringify(file)}, () => import(${JSON.stringify(join(root, file))})],`,
  );
  const main = [
    `import { runFiles } from ${JSON.stringify(join(room, "guest/runner.mjs"))};`,
    `process.exitCode = await runFiles(${JSON.stringify(root)}, new Map([`,
    ...imports,
    "]));",
  ].join("\n");
  await bundle(
    { stdin: { contents: main, resolveDir: room, sourcefile: "lab-main.mjs" } },
    folder,
    "main",
  );
}

/** One program with all that it imports. @param {string} entry path of its source */
export async function bundleProgram(entry, folder, name) {
  await bundle({ entryPoints: { [name]: entry } }, folder, name);
}

async function bundle(entry, folder, name) {
  await build({
    ...entry,
    ...(entry.stdin === undefined
      ? { outdir: folder, splitting: true }
      : { outdir: folder, splitting: true, entryNames: name }),
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    conditions: ["@peerbar/source"],
    sourcemap: "linked",
    logLevel: "error",
    alias: { vitest: join(room, "guest/vitest.mjs") },
    plugins: [ownAddress, installed],
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
}

/** import.meta.url and its relatives are those of the source. */
const ownAddress = {
  name: "own-address",
  setup(esbuild) {
    esbuild.onLoad({ filter: /\.(ts|mjs|js)$/ }, ({ path }) => {
      if (path.includes("/node_modules/")) return undefined;
      const text = readFileSync(path, "utf8");
      if (!text.includes("import.meta")) return undefined;
      const contents = text
        .replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path).href))
        .replaceAll("import.meta.dirname", JSON.stringify(dirname(path)))
        .replaceAll("import.meta.filename", JSON.stringify(path));
      return { contents, loader: path.endsWith(".ts") ? "ts" : "js" };
    });
  },
};

/** Packages that carry binaries, or start others, stay where they are installed. */
const installed = {
  name: "installed",
  setup(esbuild) {
    esbuild.onResolve(
      { filter: /^(koffi|esbuild|vite|vitest\/.*|typescript)$/ },
      ({ path, resolveDir }) => {
        const folder = resolve(resolveDir, "node_modules", path);
        return { path: existsSync(folder) ? pathToFileURL(folder).href : path, external: true };
      },
    );
  },
};
