import type { BenchRow, Effort, GrowthRow, MemoryRow, SkippedRow } from "./case.js";
import { measure, measureGrowth, measureMemory, secondLook } from "./measure.js";
import { Progress } from "./progress.js";
import type { Suite } from "./suites.js";
import { hasFailed } from "./targets.js";

/** Everything a run measured. */
export interface Results {
  readonly rows: BenchRow[];
  readonly growth: GrowthRow[];
  readonly memory: MemoryRow[];
  readonly skipped: SkippedRow[];
}

/** Runs the suites one case after the other and tells on `err` how far it is. */
export async function runSuites(
  chosen: readonly Suite[],
  effort: Effort,
  err: (text: string) => void,
): Promise<Results> {
  const results: Results = { rows: [], growth: [], memory: [], skipped: [] };
  const count = chosen.reduce(
    (sum, { cases, growth, memory }) => sum + cases.length + growth.length + memory.length,
    0,
  );
  const progress = new Progress(count, err);
  const skip = (row: SkippedRow): void => {
    results.skipped.push(row);
    progress.say(`${row.failed ? "FAILED" : "skipped"} ${row.id}: ${row.reason}`);
  };
  /** One that throws does not take the others with it; the run fails all the same. */
  const attempt = async (id: string, run: () => Promise<unknown>): Promise<void> => {
    progress.start(id);
    try {
      await run();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      skip({ id, reason: reason.split("\n", 1)[0] ?? "", failed: true });
    }
  };
  for (const { cases, growth, memory } of chosen) {
    for (const benchCase of cases) {
      await attempt(benchCase.id, async () => {
        let row = await measure(benchCase, effort);
        if (
          effort.hurried &&
          !("skipped" in row) &&
          hasFailed([{ value: row.ratio, target: row.target }], true)
        ) {
          progress.say(`${benchCase.id}: ${row.ratio.toFixed(1)}, measured again, longer`);
          row = await measure(benchCase, secondLook);
        }
        if ("skipped" in row) skip({ id: benchCase.id, reason: row.skipped });
        else results.rows.push(row);
      });
    }
    for (const series of growth) {
      await attempt(`${series.id} by ${series.unit}`, async () => {
        const row = await measureGrowth(series, effort);
        if ("skipped" in row) skip({ id: series.id, reason: row.skipped });
        else results.growth.push(row);
      });
    }
    for (const bench of memory) {
      await attempt(bench.id, async () => {
        const row = await measureMemory(bench, effort);
        if ("skipped" in row) skip({ id: bench.id, reason: row.skipped });
        else results.memory.push(row);
      });
    }
  }
  progress.end();
  return results;
}
