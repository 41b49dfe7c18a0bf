import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** One temporary directory for a whole run: what tests and what they start leave in `tmpdir()` goes with it. */
export default function scratch() {
  const folder = mkdtempSync(join(tmpdir(), "peerbar-tests-"));
  process.env.TMPDIR = folder;
  return () => {
    rmSync(folder, { recursive: true, force: true });
  };
}
