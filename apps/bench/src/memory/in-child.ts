import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { MemoryBench, MemoryTaken } from "../case.js";
import { memoryCases } from "./cases.js";

/** The cases of {@link memoryCases}, each in a fresh process, so that nothing else is on its heap. */
export const memory: readonly MemoryBench[] = Object.keys(memoryCases).map((id) => ({
  id,
  measure({ hurried }) {
    const child = fileURLToPath(new URL("memory-child.js", import.meta.url));
    const args = ["--expose-gc", child, id, ...(hurried ? ["hurried"] : [])];
    const ran = spawnSync(process.execPath, args, { encoding: "utf8" });
    if (ran.status !== 0) throw new Error(`the child process failed: ${ran.stderr.trim()}`);
    return JSON.parse(ran.stdout) as MemoryTaken;
  },
}));
