import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { GrowthSeries, MemoryBench, MemoryTaken } from "../case.js";
import { EXPLORED_ORDER, memoryCases } from "./cases.js";

/** The cases of {@link memoryCases}, each in a fresh process, so that nothing else is on its heap. */
export const memory: readonly MemoryBench[] = Object.keys(memoryCases).map((id) => ({
  id,
  measure({ hurried }) {
    if (hurried && id === EXPLORED_ORDER)
      return { skipped: "fewer orders than a million show no byte each: pnpm bench memory" };
    return inChild(id);
  },
}));

function inChild(...args: readonly string[]): MemoryTaken {
  const child = fileURLToPath(new URL("memory-child.js", import.meta.url));
  const ran = spawnSync(process.execPath, ["--expose-gc", child, ...args], { encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`the child process failed: ${ran.stderr.trim()}`);
  return JSON.parse(ran.stdout) as MemoryTaken;
}

/** All that so many of them keep. The engine gives code back when it likes, some hundred kilobytes: the middle of three processes counts. */
function kept(id: string, unit: string, sizes: readonly number[]): GrowthSeries {
  return {
    id,
    unit,
    cost: "bytes",
    sizes,
    rounds: 3,
    setup: (size) => ({
      sample: () => {
        const { bytes, count } = inChild(id, String(size));
        return bytes * count;
      },
    }),
  };
}

/** From where what is made once, and code that the engine compiles, no longer shows. An explored order keeps nothing, which has no growth. */
export const memoryGrowth: readonly GrowthSeries[] = [
  kept("memory/mapping-4k-dense", "mappings", [131_072, 524_288, 2_097_152]),
  kept("memory/attachment-idle", "attachments", [10_000, 100_000, 1_000_000]),
  kept("memory/pci-function", "functions", [5_000, 20_000, 100_000]),
];
