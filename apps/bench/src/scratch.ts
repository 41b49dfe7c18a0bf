import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A temporary folder, gone at the latest when this process ends. */
export function scratchFolder(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "peerbar-bench-"));
  const remove = (): void => {
    // What just ended may still be writing its last.
    rmSync(path, { recursive: true, force: true, maxRetries: 5 });
    process.off("exit", remove);
  };
  process.once("exit", remove);
  return { path, remove };
}
