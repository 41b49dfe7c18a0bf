/** Runs the gallery of defects, writes docs/gallery.md and prints which check caught what, and how long it took. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const folder = mkdtempSync(join(tmpdir(), "peerbar-gallery-"));
const table = join(folder, "table.txt");
const vitest = join(root, "node_modules/vitest/vitest.mjs");
const run = spawnSync(process.execPath, [vitest, "run", "test/gallery", "-u"], {
  cwd: join(root, "packages/conformance"),
  env: { ...process.env, GALLERY_TABLE: table },
  encoding: "utf8",
});
try {
  process.stdout.write(readFileSync(table, "utf8"));
} catch {
  process.stdout.write(run.stdout);
}
if (run.status !== 0) process.stderr.write(run.stderr || run.stdout);
rmSync(folder, { recursive: true, force: true });
process.exitCode = run.status ?? 1;
