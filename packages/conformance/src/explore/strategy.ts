import type { Chooser, Outcome } from "./runner.js";

/** Decides run after run. */
export interface Strategy extends Chooser {
  /** Prepares the next run; false where none is left. */
  next(): boolean;
  /** The run has ended. */
  ended(outcome: Outcome): void;
  /** Whether the run just ended belongs to this shard: others repeat it only to find their own. */
  readonly mine: boolean;
  /** True once every order within the bound has been seen. */
  readonly exhausted: boolean;
  /** True where a bound kept it from orders that exist. */
  readonly bounded: boolean;
  /** Share of the space seen, from 0 to 1, as far as it is known by now; undefined where there is no end. */
  readonly progress: number | undefined;
}

/** Part `index` (from 0) of `count`. */
export interface Shard {
  /** Which part, from 0. */
  readonly index: number;
  /** Parts in all; at least 1. */
  readonly count: number;
}
