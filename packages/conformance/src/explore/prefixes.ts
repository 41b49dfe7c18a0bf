import type { Shard } from "./strategy.js";

/**
 * How a depth-first search is split: orders are cut after a few steps, and the beginnings are dealt out in turn. Everybody finds all
 * beginnings, in the same order, and goes on with its own.
 */
export class Prefixes {
  /** Steps of a beginning. 0: not split. */
  readonly depth: number;
  readonly #shard: Shard;
  #found = 0;
  #mine = true;

  constructor(depth: number, shard: Shard) {
    this.depth = depth;
    this.#shard = shard;
  }

  /** Beginnings found so far. */
  get found(): number {
    return this.#found;
  }

  /** Whether the last beginning found is this shard's. */
  get mine(): boolean {
    return this.#mine;
  }

  /** A new beginning is complete: by its length, or by a run that ended before. True where it is this shard's. */
  claim(): boolean {
    this.#mine = this.#found % this.#shard.count === this.#shard.index;
    this.#found += 1;
    return this.#mine;
  }
}
