import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { MemoryBench, MemoryTaken } from "../case.js";
import { EXPLORED_ORDER, memoryCases } from "./cases.js";

/** The cases of {@link memoryCases}, each in a fresh process, so that nothing else is on its heap. */
export const memory: readonly MemoryBench[] = Object.keys(memoryCases).map((id) => ({
  id,
  measure({ hurried }) {
    if (hurried && id === EXPLORED_ORDER)
      return { skipped: "fewer orders than a million show no byte each: pnpm bench memory" };
    const child = fileURLToPath(new URL("memory-child.js", import.meta.url));
    const ran = spawnSync(process.execPath, ["--expose-gc", child, id], { encoding: "utf8" });
    if (ran.status !== 0) throw new Error(`the child process failed: ${ran.stderr.trim()}`);
    return JSON.parse(ran.stdout) as MemoryTaken;
  },
}));
