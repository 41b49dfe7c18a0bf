import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Folder of real machines' captures, ending in a slash: `PEERBAR_TOPOLOGIES`, else `shared/topologies` beside the checkout. They are other
 * people's machines and no part of the repository: tests that need them are skipped where they are not there.
 */
export const topologies = `${resolve(
  process.env.PEERBAR_TOPOLOGIES ??
    fileURLToPath(new URL("../../../shared/topologies", import.meta.url)),
)}/`;

/** One line for a whole run, where the folder is not there. */
export default function tellMissing() {
  if (existsSync(topologies)) return;
  console.log(
    "real machines are left out: set PEERBAR_TOPOLOGIES to a folder of captures with expected answers",
  );
}
