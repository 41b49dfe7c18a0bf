import { grown } from "./table-nodes.js";

/** Items of a leaf, children of an inner node. */
export const WIDTH = 32;
/** Numbers kept for each leaf, and where. */
export const META = 4;
export const PREV = 1;
export const NEXT = 2;
export const UP = 3;
/** Highest address: the anchor item that ends the space. */
export const ANCHOR = 2 ** 52;
/** A length that does not fit 32 bits, or is not whole, is in longLengths. */
export const ESCAPE = 0xffff_ffff;

/** The nodes of a {@link RangeTree}: typed arrays, how nodes are taken and given back, and what is known of the holes in each. */
export class RangeNodes {
  /** Ranges, without the anchor. */
  size = 0;
  // Leaves, numbered from 1.
  protected lows = new Float64Array(2 * WIDTH);
  protected lengths = new Uint32Array(2 * WIDTH);
  /** Empty where the ranges carry no values. */
  protected values: Uint32Array;
  /**
   * For each leaf, bounds: no hole below an item is larger than the first number, and none but the largest than the second. So a range that
   * fills the largest hole needs no look at the others; a search in vain makes both exact.
   */
  protected bound = new Float64Array(4);
  /** Count of items, leaf before, leaf after and parent of each leaf, side by side for the cache's sake. */
  protected meta = new Uint32Array(2 * META);
  protected leaves = 2;
  protected freeLeaf = 0;
  // Inner nodes, numbered from 1. Of a node at height 1 the children are leaves.
  protected keys = new Float64Array(WIDTH);
  protected gaps = new Float64Array(WIDTH);
  protected children = new Uint32Array(WIDTH);
  protected childCount = new Uint8Array(1);
  protected innerUp = new Uint32Array(1);
  protected inners = 1;
  protected freeInner = 0;
  protected height = 0;
  protected root = 1;
  protected readonly longLengths = new Map<number, number>();

  /** @param values - Each range carries a number of the caller's, at 4 bytes more. */
  constructor(values = false) {
    this.values = new Uint32Array(values ? 2 * WIDTH : 0);
    this.lows[WIDTH] = ANCHOR;
    this.lengths[WIDTH] = 1;
    this.meta[1 * META] = 1;
    this.bound[2] = ANCHOR;
    this.bound[3] = ANCHOR;
  }

  protected lengthAt(slot: number): number {
    const length = this.lengths[slot] ?? 0;
    return length === ESCAPE ? (this.longLengths.get(this.lows[slot] ?? 0) ?? 0) : length;
  }

  protected setLength(slot: number, low: number, length: number): void {
    if (length >>> 0 === length && length !== ESCAPE) this.lengths[slot] = length;
    else {
      this.lengths[slot] = ESCAPE;
      this.longLengths.set(low, length);
    }
  }

  /** End of the item before item `at`, across leaves; 0 before the first. */
  protected endBefore(leaf: number, at: number): number {
    let slot = leaf * WIDTH + at - 1;
    if (at === 0) {
      const prev = this.meta[leaf * META + PREV] ?? 0;
      if (prev === 0) return 0;
      slot = prev * WIDTH + (this.meta[prev * META] ?? 0) - 1;
    }
    return (this.lows[slot] ?? 0) + this.lengthAt(slot);
  }

  /** Where in `up` the subtree of `address` hangs: the same as {@link indexIn}, by keys that a descent has just read. */
  protected indexOfKey(up: number, address: number): number {
    const keys = this.keys;
    let low = up * WIDTH;
    let high = low + (this.childCount[up] ?? 0);
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((keys[middle] ?? 0) <= address) low = middle;
      else high = middle;
    }
    return low - up * WIDTH;
  }

  protected indexIn(up: number, node: number): number {
    const children = this.children;
    const base = up * WIDTH;
    let i = base;
    while (children[i] !== node) i += 1;
    return i - base;
  }

  /** A hole of the leaf has become as large as `gap`. */
  protected raise(leaf: number, gap: number): void {
    const largest = this.bound[leaf * 2] ?? 0;
    if (gap <= largest) {
      if (gap > (this.bound[leaf * 2 + 1] ?? 0)) this.bound[leaf * 2 + 1] = gap;
      return;
    }
    this.bound[leaf * 2 + 1] = largest;
    this.bound[leaf * 2] = gap;
    const address = this.lows[leaf * WIDTH] ?? 0;
    for (let up = this.meta[leaf * META + UP] ?? 0; up !== 0; up = this.innerUp[up] ?? 0) {
      const slot = up * WIDTH + this.indexOfKey(up, address);
      if ((this.gaps[slot] ?? 0) >= gap) return;
      this.gaps[slot] = gap;
    }
  }

  /** Makes the bounds of a leaf exact. */
  protected refresh(leaf: number): void {
    const lows = this.lows;
    const lengths = this.lengths;
    let largest = 0;
    let second = 0;
    let end = this.endBefore(leaf, 0);
    const first = leaf * WIDTH;
    for (let slot = first, past = first + (this.meta[leaf * META] ?? 0); slot < past; slot++) {
      const low = lows[slot] ?? 0;
      const gap = low - end;
      if (gap > largest) {
        second = largest;
        largest = gap;
      } else if (gap > second) second = gap;
      const length = lengths[slot] ?? 0;
      end = low + (length === ESCAPE ? this.lengthAt(slot) : length);
    }
    this.bound[leaf * 2 + 1] = second;
    this.setLargest(leaf, largest);
  }

  /** Tells the nodes above, as far as it changes them. */
  protected setLargest(leaf: number, largest: number): void {
    this.bound[leaf * 2] = largest;
    let gap = largest;
    const address = this.lows[leaf * WIDTH] ?? 0;
    for (let up = this.meta[leaf * META + UP] ?? 0; up !== 0; up = this.innerUp[up] ?? 0) {
      const slot = up * WIDTH + this.indexOfKey(up, address);
      if (this.gaps[slot] === gap) return;
      this.gaps[slot] = gap;
      gap = this.largestGap(up);
    }
  }

  protected largestBelow(node: number, height: number): number {
    return height === 0 ? (this.bound[node * 2] ?? 0) : this.largestGap(node);
  }

  protected largestGap(inner: number): number {
    const gaps = this.gaps;
    const base = inner * WIDTH;
    let gap = 0;
    for (let i = base, past = base + (this.childCount[inner] ?? 0); i < past; i++) {
      const one = gaps[i] ?? 0;
      if (one > gap) gap = one;
    }
    return gap;
  }

  protected refreshInner(from: number): void {
    let node = from;
    for (let up = this.innerUp[node] ?? 0; up !== 0; up = this.innerUp[node] ?? 0) {
      this.gaps[up * WIDTH + this.indexIn(up, node)] = this.largestGap(node);
      node = up;
    }
  }

  protected setUp(child: number, height: number, up: number): void {
    if (height === 0) this.meta[child * META + UP] = up;
    else this.innerUp[child] = up;
  }

  protected takeLeaf(): number {
    const leaf = this.freeLeaf;
    if (leaf !== 0) {
      this.freeLeaf = this.meta[leaf * META + NEXT] ?? 0;
      return leaf;
    }
    if (this.leaves * META === this.meta.length) this.growLeaves();
    return this.leaves++;
  }

  protected growLeaves(): void {
    const nodes = Math.ceil(grown((this.leaves + 1) * WIDTH, this.leaves * WIDTH) / WIDTH);
    this.lows = enlarge(this.lows, new Float64Array(nodes * WIDTH));
    this.lengths = enlarge(this.lengths, new Uint32Array(nodes * WIDTH));
    if (this.values.length > 0) {
      this.values = enlarge(this.values, new Uint32Array(nodes * WIDTH));
    }
    this.bound = enlarge(this.bound, new Float64Array(nodes * 2));
    this.meta = enlarge(this.meta, new Uint32Array(nodes * META));
  }

  protected takeInner(): number {
    const inner = this.freeInner;
    if (inner !== 0) {
      this.freeInner = this.innerUp[inner] ?? 0;
      this.innerUp[inner] = 0;
      return inner;
    }
    if (this.inners === this.childCount.length) {
      const nodes = Math.ceil(grown((this.inners + 1) * WIDTH, this.inners * WIDTH) / WIDTH);
      this.keys = enlarge(this.keys, new Float64Array(nodes * WIDTH));
      this.gaps = enlarge(this.gaps, new Float64Array(nodes * WIDTH));
      this.children = enlarge(this.children, new Uint32Array(nodes * WIDTH));
      this.childCount = enlarge(this.childCount, new Uint8Array(nodes));
      this.innerUp = enlarge(this.innerUp, new Uint32Array(nodes));
    }
    return this.inners++;
  }

  protected giveInner(inner: number): void {
    this.childCount[inner] = 0;
    this.innerUp[inner] = this.freeInner;
    this.freeInner = inner;
  }
}

function enlarge<T extends Float64Array | Uint32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
