import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { DmaBufError } from "@peerbar/core";

/** Beside the bundle; or where `apps/report` builds it, for code that runs from sources. */
const places = [
  new URL("./report.html", import.meta.url),
  new URL("../../../report/dist/template.html", import.meta.url),
];

/**
 * The page without its data.
 *
 * @throws DmaBufError ENOENT in a checkout in which nothing is built yet
 */
export async function readTemplate(): Promise<string> {
  const place = places.find((url) => existsSync(url));
  if (place !== undefined) return await readFile(place, "utf8");
  throw new DmaBufError("ENOENT", "report", "the page's template is not built", {
    hint: "run `npx --yes pnpm@10.34.9 build`",
  });
}
