/** One operation to time. A promise is awaited. */
export type Operation = () => unknown;

/** A case with its state made. */
interface Prepared {
  readonly run: Operation;
  /** Run in turn with the case in the same process; or a time measured by another program in this run, in nanoseconds. */
  readonly yardstick: Operation | { readonly ns: number };
  /** Operations in one timed call: single short ones are below the clock. Default 100. */
  readonly batch?: number;
  /** The same for the yardstick, where it is much shorter or longer. */
  readonly yardstickBatch?: number;
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
  setup(): Prepared | Skipped | Promise<Prepared | Skipped>;
}

/** One row of the result. Times are nanoseconds for one operation. */
export interface BenchRow {
  readonly id: string;
  readonly ns: number;
  /** From the median to the upper quartile, as a share of the median. */
  readonly spread: number;
  readonly yardstick: string;
  readonly yardstickNs: number;
  readonly ratio: number;
  readonly target: number;
  readonly verdict: "pass" | "falls short";
}
