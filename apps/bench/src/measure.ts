import { Bench } from "tinybench";
import targets from "../targets.json" with { type: "json" };
import type { BenchCase, BenchRow } from "./case.js";

/** Operations in one timed call: single ones are too short for the clock. */
const BATCH = 200;

/** Times a case and its yardstick in turn, in one process. `timeMs` is spent on each. */
export async function measure(benchCase: BenchCase, timeMs: number): Promise<BenchRow> {
  const target = targets[benchCase.id as keyof typeof targets] as
    | (typeof targets)[keyof typeof targets]
    | undefined;
  if (target === undefined) throw new Error(`${benchCase.id} has no target in targets.json`);
  const { run, yardstick } = benchCase.setup();
  const bench = new Bench({ time: timeMs, warmupTime: timeMs / 4 });
  bench.add("case", repeat(run)).add("yardstick", repeat(yardstick));
  await bench.run();
  const [mine, theirs] = bench.tasks.map((task) => {
    const { result } = task;
    if (!("latency" in result)) throw new Error(`${benchCase.id}: ${task.name} did not finish`);
    const { p50, p75, p99 } = result.latency;
    return { ns: (p50 * 1e6) / BATCH, spread: (Math.min(p75, p99) - p50) / p50 };
  });
  if (mine === undefined || theirs === undefined)
    throw new Error(`${benchCase.id}: nothing measured`);
  const ratio = mine.ns / theirs.ns;
  return {
    id: benchCase.id,
    ns: mine.ns,
    spread: mine.spread,
    yardstick: target.yardstick,
    yardstickNs: theirs.ns,
    ratio,
    target: target.ratio,
    verdict: ratio <= target.ratio ? "pass" : "falls short",
  };
}

function repeat(operation: () => void): () => void {
  return () => {
    for (let i = 0; i < BATCH; i++) operation();
  };
}
