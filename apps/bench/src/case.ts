/** One operation to time. A promise is awaited. */
export type Operation = () => unknown;

/** A program of another language: runs it once more and returns nanoseconds for one operation. */
export interface Program {
  readonly sample: () => number;
}

/** A case with its state made. */
export interface Prepared {
  readonly run: Operation;
  /** Run in turn with the case, round by round, so that what slows the machine down slows both. */
  readonly yardstick: Operation | Program;
  /** Operations in one timed call: single short ones are below the clock. Default 100. */
  readonly batch?: number;
  /** The same for the yardstick, where it is much shorter or longer. */
  readonly yardstickBatch?: number;
  /** Operations that one call of `run` does itself, so that the call costs nothing. Default 1. */
  readonly perRun?: number;
  /** The same for the yardstick. */
  readonly perYardstick?: number;
  /** Both sides work in other processes, whose processor time is not this one's. */
  readonly elsewhere?: boolean;
  /** What `setup` made and nobody else takes down. */
  readonly close?: () => unknown;
}

/** What was timed elsewhere, inside another machine or by other processes: one number a round and side, nanoseconds for one operation. */
export interface Taken {
  readonly ns: readonly number[];
  readonly yardstickNs: readonly number[];
}

/** How long to look. */
export interface Effort {
  /** Rounds of case and yardstick in turn. */
  readonly rounds: number;
  /** Milliseconds a side and round. */
  readonly timeMs: number;
  /** Milliseconds before the first round of each side, in which the engine optimises. */
  readonly warmupMs: number;
  /** Rounds of a growth series, and its largest sizes left out: they take longest and say least in a hurry. */
  readonly growthRounds: number;
  readonly sizesLeftOut: number;
  /** Nothing that takes minutes, and no machine is booted. */
  readonly hurried: boolean;
}

/** Why a case cannot run here. */
export interface Skipped {
  readonly skipped: string;
}

/**
 * One measured thing beside its yardstick: machines differ, ratios travel. The id is `suite/what`; its target stands in targets.json.
 * What both sides do must be comparable per operation; a growth case has the same operation at a tenth of the size as yardstick.
 */
export interface BenchCase {
  readonly id: string;
  setup(effort: Effort): Setup | Promise<Setup>;
}

type Setup = Prepared | Taken | Skipped;

/** What one thing keeps, or a process took. */
export interface MemoryBench {
  readonly id: string;
  measure(effort: Effort): MemoryTaken | Skipped | Promise<MemoryTaken | Skipped>;
}

/** Bytes for one of `count` things. */
export interface MemoryTaken {
  readonly bytes: number;
  readonly count: number;
  /** The shares of heap and external memory, where they are known apart. */
  readonly heap?: number;
  readonly external?: number;
}

/** What grows: nanoseconds for one operation, or bytes that are kept. */
type Cost = "ns" | "bytes";

/** One operation at several sizes: how its cost grows. Its target in targets.json is an exponent. */
export interface GrowthSeries {
  readonly id: string;
  /** What is counted: `live ranges`, `bytes`. */
  readonly unit: string;
  /** Nanoseconds where it is not said. */
  readonly cost?: Cost;
  readonly sizes: readonly number[];
  /** Rounds that are enough, however long the effort: of what does not wobble, or takes long. */
  readonly rounds?: number;
  /** The operation at a size. Skips at every size or at none. */
  setup(size: number, effort: Effort): Sized | Promise<Sized>;
}

type Sized = SizedOperation | Sampled | Skipped;

/** `perRun` as in {@link Prepared}. */

export interface SizedOperation {
  readonly run: Operation;
  readonly batch?: number;
  readonly perRun?: number;
  readonly close?: () => unknown;
}

/** What is measured elsewhere: runs it once more at its size and returns what it cost. */
interface Sampled {
  readonly sample: () => number | Promise<number>;
  readonly close?: () => unknown;
}

export type Verdict = "pass" | "falls short";

/** One row of the result. Times are nanoseconds for one operation. */
export interface BenchRow {
  readonly id: string;
  readonly ns: number;
  /** {@link spread} of the rounds' ratios. */
  readonly spread: number;
  readonly yardstick: string;
  readonly yardstickNs: number;
  /** Median of the rounds' ratios. */
  readonly ratio: number;
  /** One ratio a round: what a baseline is compared by. */
  readonly ratios: readonly number[];
  readonly target: number;
  readonly verdict: Verdict;
}

/** How one series grew. */
export interface GrowthRow {
  readonly id: string;
  readonly unit: string;
  readonly cost: Cost;
  readonly points: readonly GrowthPoint[];
  readonly exponent: number;
  readonly r2: number;
  readonly target: number;
  readonly verdict: Verdict;
}

/** The cost at one size: the median, and each round, which a baseline is compared by. */
interface GrowthPoint {
  readonly size: number;
  readonly value: number;
  readonly rounds: readonly number[];
}

/** What one thing keeps. */
export interface MemoryRow extends MemoryTaken {
  readonly id: string;
  readonly target: number;
  readonly verdict: Verdict;
}

/** A case whose whole operation has a limit in seconds beside its ratio. */
export interface LimitRow {
  readonly id: string;
  readonly seconds: number;
  readonly target: number;
  readonly verdict: Verdict;
}

/** A thing that was not measured. */
export interface SkippedRow {
  readonly id: string;
  readonly reason: string;
  /** It should have run, and threw. */
  readonly failed?: true;
}
