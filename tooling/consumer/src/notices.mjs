import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseNotices } from "@peerbar/tsup-config/notices";

/** Names of packages that code of a bundle came from, by its source map. */
export function packagesInMap(map) {
  const found = JSON.parse(map).sources.map(
    (source) => /^.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(source)?.[1],
  );
  return [...new Set(found.filter((name) => name !== undefined))];
}

/** Names that are wanted and have no heading, or no text, in the notices. */
export function missing(wanted, notices) {
  const told = parseNotices(notices);
  return wanted.filter((name) => !told.some((one) => one.name === name && one.text.length > 200));
}

/**
 * Compares what the installed tool says it holds with what its source maps say. The page has no map: it must name what apps/report depends
 * on, and the tool's notices must name what the page names.
 *
 * @param tool - folder of the installed package
 * @param {readonly string[]} pageDependencies
 * @returns {string[]} names in the notices
 * @throws Error naming what is not told
 */
export function checkNotices(tool, pageDependencies) {
  const dist = readdirSync(join(tool, "dist"));
  const maps = dist.filter((name) => name.endsWith(".js.map"));
  if (maps.length === 0) throw new Error("no source maps to compare with");
  const inside = maps.flatMap((name) =>
    packagesInMap(readFileSync(join(tool, "dist", name), "utf8")),
  );
  const notices = readFileSync(join(tool, "THIRD-PARTY-NOTICES"), "utf8");
  const page = readFileSync(join(tool, "dist/report.html"), "utf8");
  const inPage = parseNotices(page).map(({ name }) => name);
  const untold = [
    ...missing([...new Set(inside), ...inPage], notices),
    ...missing(pageDependencies, page).map((name) => `${name} (in the page)`),
  ];
  if (untold.length > 0) throw new Error(`bundled without a notice: ${untold.join(", ")}`);
  return parseNotices(notices).map(({ name }) => name);
}
