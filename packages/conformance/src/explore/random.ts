import type { Execution } from "./execution.js";
import type { Strategy } from "./strategy.js";

/** A generator of numbers that a seed decides (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A whole number from 0, below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }
}

/** Picks evenly among what is ready. Each run has a seed of its own, so that one run is the same whoever else runs. */
export class RandomOrders implements Strategy {
  readonly exhausted = false;
  readonly bounded = false;
  readonly mine = true;
  readonly progress = undefined;
  readonly #seed: number;
  readonly #stride: number;
  #run: number;
  #random = new Random(0);

  /** Runs `first`, `first + stride`, and so on of all runs of that seed. */
  constructor(seed: number, first: number, stride: number) {
    this.#seed = seed;
    this.#stride = stride;
    this.#run = first - stride;
  }

  next(): boolean {
    this.#run += this.#stride;
    this.#random = new Random(
      Math.imul(this.#seed, 0x9e3779b1) ^ Math.imul(this.#run + 1, 0x85ebca6b),
    );
    return true;
  }

  choose({ ready }: Execution): number {
    return ready.length === 1 ? 0 : this.#random.below(ready.length);
  }

  ended(): void {
    // One run teaches nothing for the next.
  }
}
