interface Link {
  readonly from: bigint;
  readonly to: bigint;
  /** Parts that no sync has covered yet. */
  dirty: readonly { readonly from: bigint; readonly to: bigint }[];
}

/** @internal What is linked into one reserved IOVA, by byte offset, and how far it was synced (dma-iova R8, R9). */
export class IovaLinks {
  #links: Link[] = [];

  /** Bytes linked. */
  get total(): bigint {
    return this.#links.reduce((sum, { from, to }) => sum + (to - from), 0n);
  }

  add(offset: bigint, length: bigint): void {
    const to = offset + length;
    this.#links.push({ from: offset, to, dirty: [{ from: offset, to }] });
  }

  overlaps(offset: bigint, length: bigint): boolean {
    return this.#links.some(({ from, to }) => from < offset + length && offset < to);
  }

  /** True where the range is made of whole links: what one unlink may take away. */
  isExact(offset: bigint, length: bigint): boolean {
    const end = offset + length;
    let sum = 0n;
    for (const { from, to } of this.#links) {
      if (to <= offset || from >= end) continue;
      if (from < offset || to > end) return false;
      sum += to - from;
    }
    return sum === length;
  }

  /** Takes away what lies in the range. */
  remove(offset: bigint, length: bigint): void {
    this.#links = this.#links.filter(({ from, to }) => from < offset || to > offset + length);
  }

  /** False where the range is empty or reaches past what is linked. */
  sync(offset: bigint, length: bigint): boolean {
    const end = offset + length;
    let covered = 0n;
    for (const link of this.#links) {
      const from = later(link.from, offset);
      const to = earlier(link.to, end);
      if (from >= to) continue;
      covered += to - from;
      link.dirty = link.dirty.flatMap((part) => without(part, offset, end));
    }
    return length > 0n && covered >= length;
  }

  /** Bytes that are linked and were never synced. */
  get unsynced(): bigint {
    let bytes = 0n;
    for (const { dirty } of this.#links) for (const { from, to } of dirty) bytes += to - from;
    return bytes;
  }
}

function without(part: { from: bigint; to: bigint }, from: bigint, to: bigint): (typeof part)[] {
  if (to <= part.from || from >= part.to) return [part];
  const rest: (typeof part)[] = [];
  if (part.from < from) rest.push({ from: part.from, to: from });
  if (to < part.to) rest.push({ from: to, to: part.to });
  return rest;
}

function later(a: bigint, b: bigint): bigint {
  return a >= b ? a : b;
}

function earlier(a: bigint, b: bigint): bigint {
  return a <= b ? a : b;
}
