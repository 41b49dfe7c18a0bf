/** Grows a typed array to at least `length` elements: by half while small, by an eighth once it is large. */
export function grown(length: number, current: number): number {
  const step = current < 1 << 19 ? current >> 1 : current >> 3;
  return Math.max(length, current + step);
}

/**
 * The pages of one page table: 512 doubles each, in one pool. Number 0 is never used, so it can stand for "none".
 * A page is all zero when taken and must be when given back.
 */
export class TableNodes {
  entries = new Float64Array(4 * 512);
  /** Entries in use of each page. */
  counts = new Uint16Array(4);
  /** Slot in `entries` that points to the page; while the page is free, the next free one. */
  parents = new Uint32Array(4);
  /** Pages in use. */
  used = 0;
  #next = 1;
  #free = 0;

  take(): number {
    this.used += 1;
    const node = this.#free;
    if (node !== 0) {
      this.#free = this.parents[node] ?? 0;
      return node;
    }
    if (this.#next === this.counts.length) this.#growPool();
    return this.#next++;
  }

  give(node: number): void {
    this.used -= 1;
    this.parents[node] = this.#free;
    this.#free = node;
  }

  clear(): void {
    this.entries = new Float64Array(0);
    this.counts = new Uint16Array(0);
    this.parents = new Uint32Array(0);
    this.used = 0;
  }

  #growPool(): void {
    const nodes = Math.ceil(grown((this.#next + 1) * 512, this.#next * 512) / 512);
    const entries = new Float64Array(nodes * 512);
    entries.set(this.entries);
    const counts = new Uint16Array(nodes);
    counts.set(this.counts);
    const parents = new Uint32Array(nodes);
    parents.set(this.parents);
    this.entries = entries;
    this.counts = counts;
    this.parents = parents;
  }
}
