import type { Chooser, Outcome } from "./runner.js";

/** Decides run after run. */
export interface Strategy extends Chooser {
  /** Prepares the next run; false where none is left. */
  next(): boolean;
  /** The run has ended. */
  ended(outcome: Outcome): void;
  /** True once every order within the bound has been seen. */
  readonly exhausted: boolean;
}
