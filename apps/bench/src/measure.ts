import { Bench } from "tinybench";
import targets from "../targets.json" with { type: "json" };
import type { BenchCase, BenchRow, Operation, Skipped } from "./case.js";

interface Timing {
  readonly ns: number;
  readonly spread: number;
}

/** Times a case, then its yardstick, in one process. About `timeMs` is spent on each. */
export async function measure(benchCase: BenchCase, timeMs: number): Promise<BenchRow | Skipped> {
  const target = (targets as Record<string, { yardstick: string; ratio: number } | undefined>)[
    benchCase.id
  ];
  if (target === undefined) throw new Error(`${benchCase.id} has no target in targets.json`);
  const prepared = await benchCase.setup();
  if ("skipped" in prepared) return prepared;
  const { run, yardstick, batch = 100, yardstickBatch = batch } = prepared;
  const mine = await time(run, batch, timeMs);
  const theirs =
    typeof yardstick === "function"
      ? await time(yardstick, yardstickBatch, timeMs)
      : { ns: yardstick.ns, spread: 0 };
  const ratio = mine.ns / theirs.ns;
  return {
    id: benchCase.id,
    ...mine,
    yardstick: target.yardstick,
    yardstickNs: theirs.ns,
    ratio,
    target: target.ratio,
    verdict: ratio <= target.ratio ? "pass" : "falls short",
  };
}

async function time(operation: Operation, batch: number, timeMs: number): Promise<Timing> {
  const bench = new Bench({
    time: timeMs,
    // Below half a second the engine has not finished optimising, and a quick run would measure that.
    warmupTime: Math.max(500, timeMs / 4),
    iterations: 5,
    warmupIterations: 2,
  });
  bench.add("it", (await isAsync(operation)) ? inTurn(operation, batch) : inLoop(operation, batch));
  await bench.run();
  const result = bench.tasks[0]?.result;
  if (result === undefined || !("latency" in result))
    throw new Error("the benchmark did not finish");
  const { p50, p75 } = result.latency;
  return { ns: (p50 * 1e6) / batch, spread: (p75 - p50) / p50 };
}

/** Runs it once to see. */
async function isAsync(operation: Operation): Promise<boolean> {
  const result = operation();
  if (!(result instanceof Promise)) return false;
  await result;
  return true;
}

function inLoop(operation: Operation, batch: number): () => void {
  return () => {
    for (let i = 0; i < batch; i++) operation();
  };
}

function inTurn(operation: Operation, batch: number): () => Promise<void> {
  return async () => {
    for (let i = 0; i < batch; i++) await operation();
  };
}
