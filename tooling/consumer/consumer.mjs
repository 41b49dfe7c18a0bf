// Tries the packages as their users will have them: packed, installed into fresh folders, from TypeScript, JavaScript and a browser.
//
//   pnpm consumer [--short] [--node 20,22,24] [--tarballs DIRECTORY] [--keep]
//
// --short  this Node and one other, npm alone: for every change. Without it npm and pnpm, on every promised Node: before a release.
// --tarballs  tries what was packed there (`pnpm release --dry-run` leaves them in release/) instead of building and packing.
// --keep   leaves the folders for a look.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildAll, packAll, packedIn } from "../scripts/packages.mjs";
import { checkExamples } from "./src/check-examples.mjs";
import { checkFolder } from "./src/check-folder.mjs";
import { checkNewProjects } from "./src/check-new.mjs";
import { Checks } from "./src/checks.mjs";
import { runtimes } from "./src/runtimes.mjs";

const { values } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    node: { type: "string" },
    tarballs: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});
const majors = (values.node ?? (values.short ? "24" : "20,22,24")).split(",");
function fresh() {
  console.log("building and packing ...");
  buildAll();
  return packAll(join(place, "tarballs"));
}

const place = mkdtempSync(join(tmpdir(), "peerbar-consumer-"));
const checks = new Checks();
try {
  const packed = values.tarballs === undefined ? fresh() : packedIn(resolve(values.tarballs));
  console.log(`${packed.length} tarballs: ${packed.map(({ name }) => name).join(", ")}`);
  const { found, missing } = runtimes(majors);
  console.log(`Node: ${found.map(({ version }) => version).join(", ")}`);
  for (const line of missing) checks.skip(line);

  const managers = values.short ? ["npm"] : ["npm", "pnpm"];
  for (const manager of managers) await checkFolder(checks, place, manager, packed, found);
  const modules = await checkNewProjects(checks, place, packed, join(place, "npm"));
  if (modules !== undefined) {
    await checkExamples(checks, place, modules, values.short ? ["memory-exporter"] : undefined);
  }
} finally {
  if (values.keep) console.log(`kept: ${place}`);
  else rmSync(place, { recursive: true, force: true });
}
console.log(
  `consumer: ${checks.passed} passed, ${checks.failed} failed, ${checks.skipped} skipped`,
);
process.exitCode = checks.failed > 0 ? 1 : 0;
