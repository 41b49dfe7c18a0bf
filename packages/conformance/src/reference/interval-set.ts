/** First and last of a stretch, both included. */
interface Interval {
  readonly first: bigint;
  readonly last: bigint;
}

/** Occupied stretches of an address space, in order. Linear: for proving software, not for speed. */
export class IntervalSet {
  #taken: Interval[] = [];

  get taken(): readonly Interval[] {
    return this.#taken;
  }

  add(first: bigint, length: bigint): void {
    this.#taken.push({ first, last: first + length - 1n });
    this.#taken.sort((a, b) => (a.first < b.first ? -1 : 1));
  }

  /** Takes out the stretch that begins at `first`. */
  remove(first: bigint): void {
    this.#taken = this.#taken.filter((one) => one.first !== first);
  }

  overlaps(first: bigint, length: bigint): boolean {
    const last = first + length - 1n;
    return this.#taken.some((one) => one.first <= last && first <= one.last);
  }

  /** Stretches of `[0, limit]` that nobody took. */
  holes(limit: bigint): readonly Interval[] {
    const holes: Interval[] = [];
    let next = 0n;
    for (const { first, last } of this.#taken) {
      if (first > limit) break;
      if (first > next) holes.push({ first: next, last: first - 1n });
      if (last >= next) next = last + 1n;
    }
    if (next <= limit) holes.push({ first: next, last: limit });
    return holes;
  }

  /** Lowest free place at or above `from`; undefined where none is left up to `limit`. */
  lowest(length: bigint, alignment: bigint, from: bigint, limit: bigint): bigint | undefined {
    for (const { first, last } of this.holes(limit)) {
      const start = roundUp(first < from ? from : first, alignment);
      if (start + length - 1n <= last) return start;
    }
    return undefined;
  }

  /** Highest free place that ends at or below `limit`; undefined where none is left at or above `from`. */
  highest(length: bigint, alignment: bigint, from: bigint, limit: bigint): bigint | undefined {
    for (const { first, last } of [...this.holes(limit)].reverse()) {
      if (last + 1n < length) continue;
      const start = ((last + 1n - length) / alignment) * alignment;
      if (start >= first && start >= from) return start;
    }
    return undefined;
  }
}

function roundUp(value: bigint, to: bigint): bigint {
  return ((value + to - 1n) / to) * to;
}

/** The smallest power of two that is not below `value`. */
export function powerOfTwo(value: bigint): bigint {
  let power = 1n;
  while (power < value) power <<= 1n;
  return power;
}
