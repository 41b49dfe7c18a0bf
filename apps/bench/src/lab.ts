import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { BenchCase, GrowthSeries, Skipped, Taken } from "./case.js";
import { runNode } from "./run-node.js";
import { scratchFolder } from "./scratch.js";

/** Exit code of the lab where it cannot run. */
const CANNOT = 3;

/** What one boot measured, as bench.json of the lab has it. */
interface LabResult {
  readonly rows: readonly (Taken & { readonly id: string })[];
  readonly growth: readonly LabSeries[];
}

interface LabSeries {
  readonly id: string;
  /** Each size's rounds, nanoseconds for one operation. */
  readonly points: readonly { readonly size: number; readonly ns: readonly number[] }[];
}

let booted: Promise<LabResult | Skipped> | undefined;

const HURRIED: Skipped = {
  skipped: "a quick run boots no machine: pnpm bench native, or pnpm lab bench",
};

function lab(): Promise<LabResult | Skipped> {
  booted ??= bootLab();
  return booted;
}

/** A case that the kernel lab runs inside its machine, against a C program there. All of them share one boot. */
export function labCase(id: string): BenchCase {
  return {
    id,
    async setup({ hurried }) {
      if (hurried) return HURRIED;
      const taken = await lab();
      if ("skipped" in taken) return taken;
      const row = taken.rows.find((found) => found.id === id);
      if (row === undefined) throw new Error("the lab did not measure it");
      return row;
    },
  };
}

/** Rounds that the lab takes of each size. */
const ROUNDS = 5;

/** A series that the lab runs in the same boot; `sizes` are those of its program. */
export function labSeries(id: string, unit: string, sizes: readonly number[]): GrowthSeries {
  return {
    id,
    unit,
    sizes,
    rounds: ROUNDS,
    async setup(size, { hurried }) {
      if (hurried) return HURRIED;
      const taken = await lab();
      if ("skipped" in taken) return taken;
      const series = taken.growth.find((found) => found.id === id);
      const rounds = series?.points.find((point) => point.size === size)?.ns;
      if (rounds?.length !== ROUNDS)
        throw new Error(`the lab did not measure ${String(size)} ${unit}`);
      let round = -1;
      return {
        sample() {
          round += 1;
          return rounds[round] ?? Number.NaN;
        },
      };
    },
  };
}

/** Boots the lab where that needs no building, and takes its rounds over. @throws Error where it ran and failed, or its kernel complained. */
async function bootLab(): Promise<LabResult | Skipped> {
  const lab = fileURLToPath(new URL("../../../tooling/kernel-lab/lab.mjs", import.meta.url));
  const folder = scratchFolder();
  try {
    const file = join(folder.path, "rounds.json");
    const { code, said } = await runNode([lab, "bench", "--cached", "--json", file], (text) => {
      process.stderr.write(text);
    });
    const lines = said.trimEnd().split("\n");
    const last = (lines.at(-1) ?? "it said nothing").replace(/^lab: /, "");
    // Once it boots, not to come to an end is a failure.
    if (code === CANNOT && !lines.some((line) => line.startsWith("lab: booting")))
      return { skipped: `the kernel lab cannot run here: ${last}` };
    if (code !== 0) throw new Error(`the kernel lab ended with ${String(code)}, as said above`);
    return JSON.parse(readFileSync(file, "utf8")) as LabResult;
  } finally {
    folder.remove();
  }
}
