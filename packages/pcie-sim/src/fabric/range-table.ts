/**
 * A stretch of addresses. Page frame numbers are plain numbers (a 64-bit address without its offset fits a double exactly); the byte
 * in the page is apart, because BARs may be smaller than a page. Both ends are included.
 */
export interface Span {
  readonly firstPfn: number;
  readonly firstByte: number;
  readonly lastPfn: number;
  readonly lastByte: number;
}

/** The stretch `[start, start + length)` of bytes. */
export function spanOf(start: bigint, length: bigint): Span {
  const last = start + length - 1n;
  return {
    firstPfn: Number(start >> 12n),
    firstByte: Number(start & 0xfffn),
    lastPfn: Number(last >> 12n),
    lastByte: Number(last & 0xfffn),
  };
}

/** Bytes from one place up to, not including, another; inexact only where far beyond any transfer. */
export function distance(fromPfn: number, fromByte: number, toPfn: number, toByte: number): number {
  return (toPfn - fromPfn) * 4096 + (toByte - fromByte);
}

/** True where `pfn`:`byte` lies in the span. */
export function covers(span: Span, pfn: number, byte: number): boolean {
  return (
    (pfn > span.firstPfn || (pfn === span.firstPfn && byte >= span.firstByte)) &&
    (pfn < span.lastPfn || (pfn === span.lastPfn && byte <= span.lastByte))
  );
}

/**
 * Who answers to which addresses. Spans should not overlap; where they do (a driver wrote nonsense into BARs), the first one given
 * answers.
 */
export class RangeTable<T extends Span> {
  readonly entries: readonly T[];
  readonly #overlapping: boolean;
  /** Bytes that share the answer of the last {@link find}: to the end of the span, or to the next span where nothing was found. */
  run = 0;

  constructor(entries: readonly T[]) {
    const sorted = [...entries].sort(
      (a, b) => a.firstPfn - b.firstPfn || a.firstByte - b.firstByte,
    );
    this.#overlapping = sorted.some((entry, i) => {
      const next = sorted[i + 1];
      return next !== undefined && covers(entry, next.firstPfn, next.firstByte);
    });
    this.entries = this.#overlapping ? entries : sorted;
  }

  /** The span that holds `pfn`:`byte`; {@link run} then tells how far that answer reaches. */
  find(pfn: number, byte: number): T | undefined {
    return this.#overlapping ? this.#scan(pfn, byte) : this.#search(pfn, byte);
  }

  #search(pfn: number, byte: number): T | undefined {
    const { entries } = this;
    let low = 0;
    let high = entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = entries[middle];
      if (entry === undefined) break;
      if (entry.firstPfn < pfn || (entry.firstPfn === pfn && entry.firstByte <= byte)) {
        low = middle + 1;
      } else high = middle;
    }
    const entry = entries[low - 1];
    if (entry !== undefined && covers(entry, pfn, byte)) {
      this.run = distance(pfn, byte, entry.lastPfn, entry.lastByte) + 1;
      return entry;
    }
    const next = entries[low];
    this.run = next === undefined ? Infinity : distance(pfn, byte, next.firstPfn, next.firstByte);
    return undefined;
  }

  /** Slow and sure: the answer may change at any span's edge. */
  #scan(pfn: number, byte: number): T | undefined {
    let found: T | undefined;
    let run = Infinity;
    for (const entry of this.entries) {
      if (covers(entry, pfn, byte)) {
        found ??= entry;
        run = Math.min(run, distance(pfn, byte, entry.lastPfn, entry.lastByte) + 1);
      } else {
        const start = distance(pfn, byte, entry.firstPfn, entry.firstByte);
        if (start > 0) run = Math.min(run, start);
      }
    }
    this.run = run;
    return found;
  }
}
