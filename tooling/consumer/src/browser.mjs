import { join } from "node:path";
import { createContext, runInContext } from "node:vm";
import { build } from "esbuild";

/** What a page may use here besides the language itself. */
const webGlobals = { TextEncoder, TextDecoder };

/**
 * Bundles `browser.ts` of the folder for browsers and runs it where Node's globals do not exist.
 *
 * @returns {Promise<{ said: string, bytes: number }>} what it returned, and the size of the minified bundle
 */
export async function runInBrowser(folder) {
  const { outputFiles } = await build({
    entryPoints: [join(folder, "browser.ts")],
    absWorkingDir: folder,
    bundle: true,
    platform: "browser",
    format: "iife",
    globalName: "page",
    minify: true,
    write: false,
    logLevel: "silent",
  });
  const [{ text, contents }] = outputFiles;
  const context = createContext({ ...webGlobals });
  const said = await runInContext(`${text};page.main()`, context);
  return { said, bytes: contents.length };
}
