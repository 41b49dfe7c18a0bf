import { Bench } from "tinybench";
import type {
  BenchCase,
  BenchRow,
  Effort,
  GrowthRow,
  GrowthSeries,
  MemoryBench,
  MemoryRow,
  Operation,
  Prepared,
  Program,
  SizedOperation,
  Skipped,
  Taken,
} from "./case.js";
import { fitPower, median, spread } from "./statistics.js";
import { bytesTarget, exponentTarget, ratioTarget, verdictOf } from "./targets.js";

export const full: Effort = {
  rounds: 11,
  timeMs: 100,
  warmupMs: 500,
  growthRounds: 7,
  sizesLeftOut: 0,
  hurried: false,
};
export const quick: Effort = {
  rounds: 5,
  timeMs: 30,
  // As long as in a full run: at 200 the engine was still compiling in the first rounds, and a case came out at three times its value.
  warmupMs: 500,
  growthRounds: 2,
  sizesLeftOut: 1,
  hurried: true,
};
/** A quick run's second look at a case that would fail it. */
export const secondLook: Effort = { ...full, hurried: true };

/** Something to time: see {@link Prepared}. */
export interface Timed {
  readonly run: Operation;
  readonly batch: number;
  readonly perRun: number;
  readonly elsewhere?: boolean | undefined;
}

/** Medians of the rounds in nanoseconds, and each round's ratio. */
interface PairTimes {
  readonly ns: number;
  readonly yardstickNs: number;
  readonly ratios: readonly number[];
}

/** Times two things in turn, in one process. */
export async function measurePair(
  one: Timed,
  other: Timed | Program,
  effort: Effort,
): Promise<PairTimes> {
  const mine = await sampler(one, effort);
  const theirs =
    "sample" in other ? () => Promise.resolve(other.sample()) : await sampler(other, effort);
  const [ns, yardstickNs]: [number[], number[]] = [[], []];
  for (let round = 0; round < effort.rounds; round++) {
    // Whoever goes first does so every other time.
    if (round % 2 === 0) ns.push(await mine());
    yardstickNs.push(await theirs());
    if (round % 2 === 1) ns.push(await mine());
  }
  return pairTimes({ ns, yardstickNs });
}

function pairTimes({ ns, yardstickNs }: Taken): PairTimes {
  const ratios = ns.map((value, round) => value / (yardstickNs[round] ?? Number.NaN));
  return { ns: median(ns), yardstickNs: median(yardstickNs), ratios };
}

/** Times a case beside its yardstick; the median of the rounds' ratios counts. */
export async function measure(benchCase: BenchCase, effort: Effort): Promise<BenchRow | Skipped> {
  const target = ratioTarget(benchCase.id);
  const prepared = await benchCase.setup(effort);
  if ("skipped" in prepared) return prepared;
  const times = "ns" in prepared ? pairTimes(prepared) : await timePrepared(prepared, effort);
  const ratio = median(times.ratios);
  return {
    id: benchCase.id,
    ...times,
    spread: spread(times.ratios),
    yardstick: target.yardstick,
    ratio,
    target: target.ratio,
    verdict: verdictOf(ratio, target.ratio),
  };
}

async function timePrepared(prepared: Prepared, effort: Effort): Promise<PairTimes> {
  const { run, yardstick, batch = 100, yardstickBatch = batch, elsewhere } = prepared;
  const other =
    typeof yardstick === "function"
      ? { run: yardstick, batch: yardstickBatch, perRun: prepared.perYardstick ?? 1, elsewhere }
      : yardstick;
  const one = { run, batch, perRun: prepared.perRun ?? 1, elsewhere };
  const times = await measurePair(one, other, effort);
  await prepared.close?.();
  return times;
}

/** Measures one operation at each of its sizes, round by round, and fits a power law through the medians. */
export async function measureGrowth(
  series: GrowthSeries,
  effort: Effort,
): Promise<GrowthRow | Skipped> {
  const { id, unit, cost = "ns" } = series;
  const target = exponentTarget(id);
  const all: {
    size: number;
    sample: () => number | Promise<number>;
    rounds: number[];
    close: (() => unknown) | undefined;
  }[] = [];
  for (const size of series.sizes.slice(0, series.sizes.length - effort.sizesLeftOut)) {
    const made = await series.setup(size, effort);
    if ("skipped" in made) return made;
    const { close } = made;
    const sample = "sample" in made ? made.sample : await sampler(timed(made), effort);
    all.push({ size, sample, rounds: [], close });
  }
  const rounds = Math.min(effort.growthRounds, series.rounds ?? effort.growthRounds);
  for (let round = 0; round < rounds; round++) {
    for (const one of all) one.rounds.push(await one.sample());
  }
  for (const { close } of all) await close?.();
  const points = all.map((one) => ({
    size: one.size,
    value: median(one.rounds),
    rounds: one.rounds,
  }));
  const { exponent, r2 } = fitPower(points.map(({ size, value }) => ({ size, cost: value })));
  const verdict = verdictOf(exponent, target);
  return { id, unit, cost, points, exponent, r2, target, verdict };
}

function timed({ run, batch = 1, perRun = 1 }: SizedOperation): Timed {
  return { run, batch, perRun };
}

/** Measures what one thing keeps. */
export async function measureMemory(
  bench: MemoryBench,
  effort: Effort,
): Promise<MemoryRow | Skipped> {
  const target = bytesTarget(bench.id);
  const taken = await bench.measure(effort);
  if ("skipped" in taken) return taken;
  return { id: bench.id, ...taken, target, verdict: verdictOf(taken.bytes, target) };
}

/** Warms an operation up; the function returned looks at it for a round and gives nanoseconds for one. */
async function sampler(
  { run, batch, perRun, elsewhere = false }: Timed,
  { timeMs, warmupMs }: Effort,
): Promise<() => Promise<number>> {
  const call = (await isAsync(run)) ? inTurn(run, batch) : inLoop(run, batch);
  const look = async (time: number, now: () => number): Promise<number> => {
    // Between two looks a signal can be heard.
    await new Promise(setImmediate);
    const bench = new Bench({ time, now, iterations: 1, warmup: false });
    bench.add("it", call);
    await bench.run();
    const result = bench.tasks[0]?.result;
    if (result === undefined || !("latency" in result))
      throw new Error("the benchmark did not finish");
    return result.latency.p50;
  };
  // By processor time: of a busy machine's time the engine gets too little to have compiled what is hot.
  // A program of its own starts cold each time.
  const first = elsewhere ? 0 : await look(warmupMs, cpuMs);
  const now = first < LONG_MS ? wallMs : cpuMs;
  return async () => ((await look(timeMs, now)) * 1e6) / (batch * perRun);
}

/**
 * From here on a call is timed by the processor time of this process. It is longer than the turn that a busy machine gives a process, so
 * wall-clock time would count the others' turns too. Below it, the median of many calls has none of them, and the clock is finer.
 */
const LONG_MS = 1;

function wallMs(): number {
  return performance.now();
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
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
