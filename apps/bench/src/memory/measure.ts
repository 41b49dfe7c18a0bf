import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { MemoryRow, SkippedRow } from "../case.js";
import { bytesTarget, verdictOf } from "../targets.js";

interface Answer {
  readonly heap: number;
  readonly external: number;
  readonly count: number;
}

/** Measures one case in a fresh process, so that nothing else is on its heap. */
export function measureMemory(id: string): MemoryRow | SkippedRow {
  const child = fileURLToPath(new URL("memory-child.js", import.meta.url));
  const ran = spawnSync(process.execPath, ["--expose-gc", child, id], { encoding: "utf8" });
  if (ran.status !== 0) {
    return { id, reason: `the child process failed: ${ran.stderr.trim()}`, failed: true };
  }
  const { heap, external, count } = JSON.parse(ran.stdout) as Answer;
  const bytes = heap + external;
  const target = bytesTarget(id);
  return { id, bytes, heap, external, count, target, verdict: verdictOf(bytes, target) };
}
