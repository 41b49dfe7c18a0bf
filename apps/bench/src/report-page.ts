import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Skipped, Taken } from "./case.js";
import { Chromium, findChromium } from "./chromium.js";
import { capture, LARGE_DUMP } from "./inputs.js";
import { runNode } from "./run-node.js";
import { scratchFolder } from "./scratch.js";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** As the tool ships it: the page without any data. */
const template = path("../../cli/dist/report.html");
const tool = path("../../cli/bin/peerbar.js");

const NOT_BUILT: Skipped = {
  skipped: "the command line tool is not built (pnpm peerbar --help)",
};

/** Bytes of a report page without its data. */
export function pageBytes(): number | Skipped {
  return existsSync(template) ? readFileSync(template).byteLength : NOT_BUILT;
}

/**
 * Milliseconds from the start of the navigation until the page has drawn, another client was chosen, and its verdict is drawn too: what a
 * reader would call ready.
 */
const INTERACTIVE = `(async () => {
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const verdict = () => document.querySelector(".verdict h2");
  do await frame(); while (!verdict() || !document.querySelector("canvas"));
  await frame();
  const choice = document.querySelectorAll(".choice select")[1];
  const before = location.hash;
  choice.selectedIndex = choice.selectedIndex === 0 ? 1 : 0;
  choice.dispatchEvent(new Event("change", { bubbles: true }));
  while (location.hash === before) await frame();
  await frame();
  return performance.now();
})()`;

/** The same until a page without a script has drawn the same data. */
const DRAWN = `(async () => {
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  do await frame(); while (document.readyState !== "complete");
  await frame();
  return performance.now();
})()`;

/** The H800 machine's page opened in a Chromium, against a page that holds the same data as text. */
export async function openReport(rounds: number): Promise<Taken | Skipped> {
  const dump = capture(LARGE_DUMP);
  if (typeof dump !== "string") return dump;
  if (!existsSync(template)) return NOT_BUILT;
  const program = findChromium();
  if (program === undefined) return { skipped: "no chromium on PATH: apt-get install -y chromium" };
  const folder = scratchFolder();
  const [page, plain] = [join(folder.path, "page.html"), join(folder.path, "plain.html")];
  const { code, said } = await runNode([tool, "report", "-F", dump, "-o", page]);
  if (code !== 0) throw new Error(`peerbar report: ${said.trim()}`);
  const data = /<script type="application\/json" id="capture">([\s\S]*?)<\/script>/.exec(
    readFileSync(page, "utf8"),
  )?.[1];
  if (data === undefined) throw new Error("the page has no capture in it");
  writeFileSync(plain, `<!doctype html><meta charset="utf-8"><h1>text</h1><pre>${data}</pre>`);
  const chromium = new Chromium(program);
  const open = async (file: string, script: string): Promise<number> => {
    const ms = await chromium.open(pathToFileURL(file).href, script);
    if (typeof ms !== "number") throw new Error(`${file} was not drawn`);
    return ms * 1e6;
  };
  try {
    // The first page pays for the browser's own start.
    await open(plain, DRAWN);
    await open(page, INTERACTIVE);
    const [ns, yardstickNs]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      ns.push(await open(page, INTERACTIVE));
      yardstickNs.push(await open(plain, DRAWN));
    }
    return { ns, yardstickNs };
  } finally {
    await chromium.close();
    folder.remove();
  }
}
