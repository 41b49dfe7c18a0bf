/**
 * One measured thing beside its yardstick, both run in the same process: machines differ, ratios travel.
 * The id is `suite/what`; its target stands in targets.json.
 */
export interface BenchCase {
  readonly id: string;
  /** Makes fresh state and returns the two functions to time. Each call is one operation. */
  setup(): { readonly run: () => void; readonly yardstick: () => void };
}

/** One row of the result. Times are nanoseconds for one operation. */
export interface BenchRow {
  readonly id: string;
  readonly ns: number;
  /** Half the interquartile range as a share of the median. */
  readonly spread: number;
  readonly yardstick: string;
  readonly yardstickNs: number;
  readonly ratio: number;
  readonly target: number;
  readonly verdict: "pass" | "falls short";
}
