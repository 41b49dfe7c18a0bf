import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { env, getuid } from "node:process";
import { type Browser, chromium } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** A Chromium on PATH; undefined where there is none. */
function findChromium(): string | undefined {
  const places = (env.PATH ?? "")
    .split(delimiter)
    .flatMap((folder) => names.map((name) => join(folder, name)));
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Why tests in a browser are skipped, as part of their title; empty where they run. */
export const skipped =
  findChromium() === undefined
    ? " (skipped: no chromium on PATH; they run after `apt-get install -y chromium`)"
    : "";

/** The browser, without network: every name resolves to nothing. */
export async function launch(): Promise<Browser> {
  const executablePath = findChromium();
  if (executablePath === undefined) throw new Error("no chromium on PATH");
  return await chromium.launch({
    executablePath,
    // Root in a container cannot have the sandbox.
    chromiumSandbox: getuid?.() !== 0,
    args: ["--host-resolver-rules=MAP * ~NOTFOUND"],
  });
}
