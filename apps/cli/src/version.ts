import { readFile } from "node:fs/promises";

/** This tool's version. Its package.json is one folder up from the sources and from the bundle alike. */
export async function readVersion(): Promise<string> {
  const text = await readFile(new URL("../package.json", import.meta.url), "utf8");
  const { version } = JSON.parse(text) as { readonly version: string };
  return version;
}
