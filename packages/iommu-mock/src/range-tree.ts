import { grown } from "./table-nodes.js";

/** Items of a leaf, children of an inner node. */
const WIDTH = 32;
/** Numbers kept for each leaf, and where. */
const META = 4;
const PREV = 1;
const NEXT = 2;
const UP = 3;
/** Highest address: the anchor item that ends the space. */
export const ANCHOR = 2 ** 52;
/** A length that does not fit 32 bits, or is not whole, is in #long. */
const ESCAPE = 0xffff_ffff;

/**
 * Disjoint ranges in address order: a B+ tree on typed arrays that knows the largest hole below each subtree, so that the highest or
 * lowest fitting hole is found without walking the ranges. About 12 bytes a range. Units are the caller's; fractions are fine.
 * The space runs from 0 to {@link ANCHOR}, where an item that is never removed ends it.
 */
export class RangeTree {
  /** Ranges, without the anchor. */
  size = 0;
  // Leaves, numbered from 1.
  #low = new Float64Array(2 * WIDTH);
  #length = new Uint32Array(2 * WIDTH);
  /** Empty where the ranges carry no values. */
  #value: Uint32Array;
  /**
   * For each leaf, bounds: no hole below an item is larger than the first number, and none but the largest than the second. So a range that
   * fills the largest hole needs no look at the others; a search in vain makes both exact.
   */
  #bound = new Float64Array(4);
  /** Count of items, leaf before, leaf after and parent of each leaf, side by side for the cache's sake. */
  #meta = new Uint32Array(2 * META);
  #leaves = 2;
  #freeLeaf = 0;
  // Inner nodes, numbered from 1. Of a node at height 1 the children are leaves.
  #key = new Float64Array(WIDTH);
  #gap = new Float64Array(WIDTH);
  #child = new Uint32Array(WIDTH);
  #childCount = new Uint8Array(1);
  #innerUp = new Uint32Array(1);
  #inners = 1;
  #freeInner = 0;
  #height = 0;
  #root = 1;
  readonly #long = new Map<number, number>();
  /** Item that the last find, lowerBound or search stopped at. */
  #leaf = 1;
  #at = 0;

  /** @param values - Each range carries a number of the caller's, at 4 bytes more. */
  constructor(values = false) {
    this.#value = new Uint32Array(values ? 2 * WIDTH : 0);
    this.#low[WIDTH] = ANCHOR;
    this.#length[WIDTH] = 1;
    this.#meta[1 * META] = 1;
    this.#bound[2] = ANCHOR;
    this.#bound[3] = ANCHOR;
  }

  /** Low end of the item found last. */
  get low(): number {
    return this.#low[this.#leaf * WIDTH + this.#at] ?? 0;
  }

  /** Length of the item found last. */
  get length(): number {
    return this.#lengthAt(this.#leaf * WIDTH + this.#at);
  }

  /** What the item found last carries. */
  get value(): number {
    return this.#value[this.#leaf * WIDTH + this.#at] ?? 0;
  }

  /** Goes to the range that contains `address`; false where there is none. */
  find(address: number): boolean {
    this.#descend(address);
    const lows = this.#low;
    const base = this.#leaf * WIDTH;
    let at = (this.#meta[this.#leaf * META] ?? 0) - 1;
    while (at >= 0 && (lows[base + at] ?? 0) > address) at -= 1;
    if (at < 0) return false;
    this.#at = at;
    return address < (this.#low[base + at] ?? 0) + this.#lengthAt(base + at);
  }

  /** Goes to the first item whose low end is at or above `address`: the anchor at the latest. */
  lowerBound(address: number): void {
    this.#descend(address);
    const lows = this.#low;
    const base = this.#leaf * WIDTH;
    const count = this.#meta[this.#leaf * META] ?? 0;
    let at = 0;
    while (at < count && (lows[base + at] ?? 0) < address) at += 1;
    if (at < count) this.#at = at;
    else {
      this.#leaf = this.#meta[this.#leaf * META + NEXT] ?? 0;
      this.#at = 0;
    }
  }

  /** Low end of the item after the current one. */
  get lowAbove(): number {
    return this.#low[this.#slotAbove()] ?? 0;
  }

  /** Length of the item after the current one. */
  get lengthAbove(): number {
    return this.#lengthAt(this.#slotAbove());
  }

  /** Adds a range. The caller has made sure that it meets no other. */
  insert(low: number, length: number, value = 0): void {
    this.#descend(low);
    const leaf = this.#leaf;
    const lows = this.#low;
    const count = this.#meta[leaf * META] ?? 0;
    let at = count;
    while (at > 0 && (lows[leaf * WIDTH + at - 1] ?? 0) > low) at -= 1;
    this.#at = at;
    this.#insertAt(low, length, value);
    // At the end of its leaf it takes over a hole that counted at the next one.
    if (at === count) this.#raise(this.#leaf, low - this.#endBefore(this.#leaf, this.#at));
  }

  /** Adds a range in the hole below the current item, which {@link topDown} has found; it becomes the current item. */
  insertHere(low: number, length: number, value = 0): void {
    // Before the first item of a leaf it may belong to the leaf below: the keys above decide.
    if (this.#at === 0) this.insert(low, length, value);
    else this.#insertAt(low, length, value);
  }

  #insertAt(low: number, length: number, value: number): void {
    let leaf = this.#leaf;
    let at = this.#at;
    if (this.#meta[leaf * META] === WIDTH) {
      // Ranges mostly arrive in descending or ascending order: the leaf left behind then stays nearly full.
      const keep = at <= 2 ? Math.max(1, at) : at >= WIDTH - 2 ? at - 1 : WIDTH / 2;
      const right = this.#splitLeaf(leaf, keep);
      if (at > keep) {
        at -= keep;
        leaf = right;
      }
    }
    this.#openSlot(leaf, at);
    const slot = leaf * WIDTH + at;
    this.#low[slot] = low;
    this.#setLength(slot, low, length);
    if (this.#value.length > 0) this.#value[slot] = value;
    this.size += 1;
    this.#leaf = leaf;
    this.#at = at;
    this.#lower(leaf, at, low, length);
  }

  /** After an insert: where it went into the largest hole, the second or what is left of the first is the largest now. */
  #lower(leaf: number, at: number, low: number, length: number): void {
    if (at + 1 >= (this.#meta[leaf * META] ?? 0)) return;
    const below = low - this.#endBefore(leaf, at);
    const above = (this.#low[leaf * WIDTH + at + 1] ?? 0) - low - length;
    const second = this.#bound[leaf * 2 + 1] ?? 0;
    if (below + length + above <= second) return;
    this.#setLargest(leaf, Math.max(second, below, above));
    this.#bound[leaf * 2 + 1] = Math.max(second, Math.min(below, above));
  }

  /** Removes the item found last. */
  remove(): void {
    const leaf = this.#leaf;
    const at = this.#at;
    const lows = this.#low;
    const lengths = this.#length;
    const base = leaf * WIDTH;
    const count = (this.#meta[leaf * META] ?? 0) - 1;
    if (lengths[base + at] === ESCAPE) this.#long.delete(lows[base + at] ?? 0);
    for (let i = base + at; i < base + count; i++) {
      lows[i] = lows[i + 1] ?? 0;
      lengths[i] = lengths[i + 1] ?? 0;
    }
    if (this.#value.length > 0) this.#value.copyWithin(base + at, base + at + 1, base + count + 1);
    this.#meta[leaf * META] = count;
    this.size -= 1;
    const next = this.#meta[leaf * META + NEXT] ?? 0;
    if (count === 0) {
      this.#dropLeaf(leaf);
      this.#raise(next, (this.#low[next * WIDTH] ?? 0) - this.#endBefore(next, 0));
    } else if (count <= WIDTH / 4 && this.#mergeNext(leaf)) this.#refresh(leaf);
    else if (at < count) this.#raise(leaf, (lows[base + at] ?? 0) - this.#endBefore(leaf, at));
    else this.#raise(next, (lows[next * WIDTH] ?? 0) - this.#endBefore(next, 0));
  }

  /**
   * The highest multiple of `align` where `size` units fit below `bound` and at or above `low`; -1 where there is none. The item above the
   * hole is then the current one.
   */
  topDown(bound: number, low: number, size: number, align: number): number {
    this.lowerBound(bound);
    let leaf = this.#leaf;
    let from = this.#at;
    for (;;) {
      const base = this.#scanDown(leaf, from, bound, low, size, align);
      if (base !== undefined) return base;
      if (from + 1 === this.#meta[leaf * META]) this.#refresh(leaf);
      leaf = this.#leafBefore(leaf, size, low);
      if (leaf === 0) return -1;
      from = (this.#meta[leaf * META] ?? 0) - 1;
    }
  }

  /** The lowest multiple of `align`, plus `offset`, where `size` units fit at or above `low` and below `bound`; -1 where there is none. */
  bottomUp(low: number, bound: number, size: number, align: number, offset: number): number {
    this.lowerBound(low);
    let leaf = this.#leaf;
    let from = this.#at;
    for (;;) {
      const count = this.#meta[leaf * META] ?? 0;
      for (let at = from; at < count; at++) {
        const start = Math.max(low, this.#endBefore(leaf, at));
        if (start >= bound) return -1;
        const base = Math.ceil((start - offset) / align) * align + offset;
        const end = Math.min(bound, this.#low[leaf * WIDTH + at] ?? 0);
        if (base + size <= end) return base;
      }
      if (from === 0) this.#refresh(leaf);
      leaf = this.#leafAfter(leaf, size);
      if (leaf === 0) return -1;
      from = 0;
    }
  }

  #slotAbove(): number {
    return this.#at + 1 < (this.#meta[this.#leaf * META] ?? 0)
      ? this.#leaf * WIDTH + this.#at + 1
      : (this.#meta[this.#leaf * META + NEXT] ?? 0) * WIDTH;
  }

  /** Looks at the holes below items `from` down to 0 of a leaf; -1 once `low` is reached. */
  #scanDown(
    leaf: number,
    from: number,
    bound: number,
    low: number,
    size: number,
    align: number,
  ): number | undefined {
    const base = leaf * WIDTH;
    for (let at = from; at >= 0; at--) {
      const itemLow = this.#low[base + at] ?? 0;
      const end = Math.min(itemLow, bound);
      if (end <= low) return -1;
      const start = this.#endBefore(leaf, at);
      if (end - start < size) continue;
      const found = Math.floor((end - size) / align) * align;
      if (found < low) return -1;
      if (found < start) continue;
      this.#leaf = leaf;
      this.#at = at;
      return found;
    }
    return undefined;
  }

  /** End of the item before item `at`, across leaves; 0 before the first. */
  #endBefore(leaf: number, at: number): number {
    let slot = leaf * WIDTH + at - 1;
    if (at === 0) {
      const prev = this.#meta[leaf * META + PREV] ?? 0;
      if (prev === 0) return 0;
      slot = prev * WIDTH + (this.#meta[prev * META] ?? 0) - 1;
    }
    return (this.#low[slot] ?? 0) + this.#lengthAt(slot);
  }

  #lengthAt(slot: number): number {
    const length = this.#length[slot] ?? 0;
    return length === ESCAPE ? (this.#long.get(this.#low[slot] ?? 0) ?? 0) : length;
  }

  #setLength(slot: number, low: number, length: number): void {
    if (length >>> 0 === length && length !== ESCAPE) this.#length[slot] = length;
    else {
      this.#length[slot] = ESCAPE;
      this.#long.set(low, length);
    }
  }

  /** Goes to the leaf where `address` belongs. */
  #descend(address: number): void {
    const keys = this.#key;
    const children = this.#child;
    const counts = this.#childCount;
    let node = this.#root;
    for (let height = this.#height; height > 0; height--) {
      let low = node * WIDTH;
      let high = low + (counts[node] ?? 0);
      while (high - low > 1) {
        const middle = (low + high) >>> 1;
        if ((keys[middle] ?? 0) <= address) low = middle;
        else high = middle;
      }
      node = children[low] ?? 0;
    }
    this.#leaf = node;
  }

  /** The nearest leaf below `leaf` with a hole of `size`; 0 where none is left above `low`. */
  #leafBefore(leaf: number, size: number, low: number): number {
    let node = leaf;
    let up = this.#meta[leaf * META + UP] ?? 0;
    for (let height = 1; up !== 0; height++) {
      const base = up * WIDTH;
      for (let i = this.#indexIn(up, node) - 1; i >= 0; i--) {
        if ((this.#key[base + i + 1] ?? 0) <= low) return 0;
        if ((this.#gap[base + i] ?? 0) >= size) {
          return this.#edgeLeaf(this.#child[base + i] ?? 0, height - 1, size, -1);
        }
      }
      node = up;
      up = this.#innerUp[up] ?? 0;
    }
    return 0;
  }

  /** The nearest leaf above `leaf` with a hole of `size`, or 0. */
  #leafAfter(leaf: number, size: number): number {
    let node = leaf;
    let up = this.#meta[leaf * META + UP] ?? 0;
    for (let height = 1; up !== 0; height++) {
      const base = up * WIDTH;
      const count = this.#childCount[up] ?? 0;
      for (let i = this.#indexIn(up, node) + 1; i < count; i++) {
        if ((this.#gap[base + i] ?? 0) >= size) {
          return this.#edgeLeaf(this.#child[base + i] ?? 0, height - 1, size, 1);
        }
      }
      node = up;
      up = this.#innerUp[up] ?? 0;
    }
    return 0;
  }

  /** The last (step -1) or first (step 1) leaf below `node` with a hole of `size`. */
  #edgeLeaf(from: number, height: number, size: number, step: 1 | -1): number {
    let node = from;
    for (let left = height; left > 0; left--) {
      const base = node * WIDTH;
      const count = this.#childCount[node] ?? 0;
      let i = step === 1 ? 0 : count - 1;
      while ((this.#gap[base + i] ?? 0) < size && i + step >= 0 && i + step < count) i += step;
      node = this.#child[base + i] ?? 0;
    }
    return node;
  }

  #indexIn(up: number, node: number): number {
    const children = this.#child;
    const base = up * WIDTH;
    let i = base;
    while (children[i] !== node) i += 1;
    return i - base;
  }

  /** A hole of the leaf has become as large as `gap`. */
  #raise(leaf: number, gap: number): void {
    const largest = this.#bound[leaf * 2] ?? 0;
    if (gap <= largest) {
      if (gap > (this.#bound[leaf * 2 + 1] ?? 0)) this.#bound[leaf * 2 + 1] = gap;
      return;
    }
    this.#bound[leaf * 2 + 1] = largest;
    this.#bound[leaf * 2] = gap;
    let node = leaf;
    for (let up = this.#meta[leaf * META + UP] ?? 0; up !== 0; up = this.#innerUp[up] ?? 0) {
      const slot = up * WIDTH + this.#indexIn(up, node);
      if ((this.#gap[slot] ?? 0) >= gap) return;
      this.#gap[slot] = gap;
      node = up;
    }
  }

  /** Makes the bounds of a leaf exact. */
  #refresh(leaf: number): void {
    const lows = this.#low;
    const lengths = this.#length;
    let largest = 0;
    let second = 0;
    let end = this.#endBefore(leaf, 0);
    const first = leaf * WIDTH;
    for (let slot = first, past = first + (this.#meta[leaf * META] ?? 0); slot < past; slot++) {
      const low = lows[slot] ?? 0;
      const gap = low - end;
      if (gap > largest) {
        second = largest;
        largest = gap;
      } else if (gap > second) second = gap;
      const length = lengths[slot] ?? 0;
      end = low + (length === ESCAPE ? this.#lengthAt(slot) : length);
    }
    this.#bound[leaf * 2 + 1] = second;
    this.#setLargest(leaf, largest);
  }

  /** Tells the nodes above, as far as it changes them. */
  #setLargest(leaf: number, largest: number): void {
    this.#bound[leaf * 2] = largest;
    let gap = largest;
    let node = leaf;
    for (let up = this.#meta[leaf * META + UP] ?? 0; up !== 0; up = this.#innerUp[up] ?? 0) {
      const slot = up * WIDTH + this.#indexIn(up, node);
      if (this.#gap[slot] === gap) return;
      this.#gap[slot] = gap;
      gap = this.#largestGap(up);
      node = up;
    }
  }

  #largestBelow(node: number, height: number): number {
    return height === 0 ? (this.#bound[node * 2] ?? 0) : this.#largestGap(node);
  }

  #largestGap(inner: number): number {
    const gaps = this.#gap;
    const base = inner * WIDTH;
    let gap = 0;
    for (let i = base, past = base + (this.#childCount[inner] ?? 0); i < past; i++) {
      const one = gaps[i] ?? 0;
      if (one > gap) gap = one;
    }
    return gap;
  }

  #openSlot(leaf: number, at: number): void {
    const lows = this.#low;
    const lengths = this.#length;
    const base = leaf * WIDTH;
    const count = this.#meta[leaf * META] ?? 0;
    for (let i = base + count; i > base + at; i--) {
      lows[i] = lows[i - 1] ?? 0;
      lengths[i] = lengths[i - 1] ?? 0;
    }
    if (this.#value.length > 0) this.#value.copyWithin(base + at + 1, base + at, base + count);
    this.#meta[leaf * META] = count + 1;
  }

  /** Moves the items from `keep` on to a new leaf on the right. */
  #splitLeaf(leaf: number, keep: number): number {
    const right = this.#takeLeaf();
    const count = this.#meta[leaf * META] ?? 0;
    this.#low.copyWithin(right * WIDTH, leaf * WIDTH + keep, leaf * WIDTH + count);
    this.#length.copyWithin(right * WIDTH, leaf * WIDTH + keep, leaf * WIDTH + count);
    if (this.#value.length > 0) {
      this.#value.copyWithin(right * WIDTH, leaf * WIDTH + keep, leaf * WIDTH + count);
    }
    this.#meta[leaf * META] = keep;
    this.#meta[right * META] = count - keep;
    const next = this.#meta[leaf * META + NEXT] ?? 0;
    this.#meta[right * META + NEXT] = next;
    this.#meta[right * META + PREV] = leaf;
    this.#meta[leaf * META + NEXT] = right;
    if (next !== 0) this.#meta[next * META + PREV] = right;
    this.#bound.copyWithin(right * 2, leaf * 2, leaf * 2 + 2);
    const up = this.#meta[leaf * META + UP] ?? 0;
    const parent = this.#adopt(up, leaf, right, this.#low[right * WIDTH] ?? 0, 0);
    this.#meta[right * META + UP] = parent;
    return right;
  }

  /** Puts `right` after `left` below `up`; makes room and a new root where needed. Returns the parent of `right`. */
  #adopt(up: number, left: number, right: number, key: number, height: number): number {
    let parent = up;
    if (parent === 0) {
      parent = this.#takeInner();
      this.#child[parent * WIDTH] = left;
      this.#key[parent * WIDTH] = 0;
      this.#childCount[parent] = 1;
      this.#setUp(left, height, parent);
      this.#gap[parent * WIDTH] = this.#largestBelow(left, height);
      this.#root = parent;
      this.#height = height + 1;
    } else if (this.#childCount[parent] === WIDTH) {
      const half = this.#splitInner(parent, height + 1);
      if ((this.#key[half * WIDTH] ?? 0) <= key) parent = half;
    }
    const base = parent * WIDTH;
    const count = this.#childCount[parent] ?? 0;
    const at = this.#indexIn(parent, left) + 1;
    for (let i = base + count; i > base + at; i--) {
      this.#child[i] = this.#child[i - 1] ?? 0;
      this.#key[i] = this.#key[i - 1] ?? 0;
      this.#gap[i] = this.#gap[i - 1] ?? 0;
    }
    this.#child[base + at] = right;
    this.#key[base + at] = key;
    this.#gap[base + at] = this.#largestBelow(right, height);
    this.#childCount[parent] = count + 1;
    return parent;
  }

  #splitInner(node: number, height: number): number {
    const right = this.#takeInner();
    const half = WIDTH / 2;
    const from = node * WIDTH + half;
    const to = right * WIDTH;
    for (let i = 0; i < half; i++) {
      const child = this.#child[from + i] ?? 0;
      this.#child[to + i] = child;
      this.#key[to + i] = this.#key[from + i] ?? 0;
      this.#gap[to + i] = this.#gap[from + i] ?? 0;
      this.#setUp(child, height - 1, right);
    }
    this.#childCount[node] = half;
    this.#childCount[right] = half;
    const up = this.#innerUp[node] ?? 0;
    const parent = this.#adopt(up, node, right, this.#key[to] ?? 0, height);
    this.#innerUp[right] = parent;
    this.#refreshInner(node);
    this.#refreshInner(right);
    return right;
  }

  #refreshInner(from: number): void {
    let node = from;
    for (let up = this.#innerUp[node] ?? 0; up !== 0; up = this.#innerUp[node] ?? 0) {
      this.#gap[up * WIDTH + this.#indexIn(up, node)] = this.#largestGap(node);
      node = up;
    }
  }

  #setUp(child: number, height: number, up: number): void {
    if (height === 0) this.#meta[child * META + UP] = up;
    else this.#innerUp[child] = up;
  }

  /** Appends the next leaf's items where both share a parent and fit comfortably. */
  #mergeNext(leaf: number): boolean {
    const next = this.#meta[leaf * META + NEXT] ?? 0;
    const count = this.#meta[leaf * META] ?? 0;
    const more = this.#meta[next * META] ?? 0;
    if (
      next === 0 ||
      this.#meta[next * META + UP] !== this.#meta[leaf * META + UP] ||
      count + more > (WIDTH * 3) / 4
    ) {
      return false;
    }
    const to = leaf * WIDTH + count;
    this.#low.copyWithin(to, next * WIDTH, next * WIDTH + more);
    this.#length.copyWithin(to, next * WIDTH, next * WIDTH + more);
    if (this.#value.length > 0) this.#value.copyWithin(to, next * WIDTH, next * WIDTH + more);
    this.#meta[leaf * META] = count + more;
    this.#dropLeaf(next);
    return true;
  }

  #dropLeaf(leaf: number): void {
    const prev = this.#meta[leaf * META + PREV] ?? 0;
    const next = this.#meta[leaf * META + NEXT] ?? 0;
    if (prev !== 0) this.#meta[prev * META + NEXT] = next;
    if (next !== 0) this.#meta[next * META + PREV] = prev;
    const up = this.#meta[leaf * META + UP] ?? 0;
    this.#meta[leaf * META] = 0;
    this.#meta[leaf * META + UP] = 0;
    this.#meta[leaf * META + NEXT] = this.#freeLeaf;
    this.#freeLeaf = leaf;
    this.#orphan(up, leaf);
  }

  /** Takes a child out of its parent; an inner node without children goes too, and so does a root with one. */
  #orphan(from: number, child: number): void {
    let up = from;
    let node = child;
    for (;;) {
      const base = up * WIDTH;
      const count = (this.#childCount[up] ?? 0) - 1;
      for (let i = base + this.#indexIn(up, node); i < base + count; i++) {
        this.#child[i] = this.#child[i + 1] ?? 0;
        this.#key[i] = this.#key[i + 1] ?? 0;
        this.#gap[i] = this.#gap[i + 1] ?? 0;
      }
      this.#childCount[up] = count;
      if (count > 0) break;
      node = up;
      up = this.#innerUp[node] ?? 0;
      this.#giveInner(node);
    }
    this.#refreshInner(up);
    while (this.#height > 0 && this.#childCount[this.#root] === 1) {
      const only = this.#child[this.#root * WIDTH] ?? 0;
      this.#giveInner(this.#root);
      this.#root = only;
      this.#height -= 1;
      this.#setUp(only, this.#height, 0);
    }
  }

  #takeLeaf(): number {
    const leaf = this.#freeLeaf;
    if (leaf !== 0) {
      this.#freeLeaf = this.#meta[leaf * META + NEXT] ?? 0;
      return leaf;
    }
    if (this.#leaves * META === this.#meta.length) this.#growLeaves();
    return this.#leaves++;
  }

  #growLeaves(): void {
    const nodes = Math.ceil(grown((this.#leaves + 1) * WIDTH, this.#leaves * WIDTH) / WIDTH);
    this.#low = enlarge(this.#low, new Float64Array(nodes * WIDTH));
    this.#length = enlarge(this.#length, new Uint32Array(nodes * WIDTH));
    if (this.#value.length > 0) {
      this.#value = enlarge(this.#value, new Uint32Array(nodes * WIDTH));
    }
    this.#bound = enlarge(this.#bound, new Float64Array(nodes * 2));
    this.#meta = enlarge(this.#meta, new Uint32Array(nodes * META));
  }

  #takeInner(): number {
    const inner = this.#freeInner;
    if (inner !== 0) {
      this.#freeInner = this.#innerUp[inner] ?? 0;
      this.#innerUp[inner] = 0;
      return inner;
    }
    if (this.#inners === this.#childCount.length) {
      const nodes = Math.ceil(grown((this.#inners + 1) * WIDTH, this.#inners * WIDTH) / WIDTH);
      this.#key = enlarge(this.#key, new Float64Array(nodes * WIDTH));
      this.#gap = enlarge(this.#gap, new Float64Array(nodes * WIDTH));
      this.#child = enlarge(this.#child, new Uint32Array(nodes * WIDTH));
      this.#childCount = enlarge(this.#childCount, new Uint8Array(nodes));
      this.#innerUp = enlarge(this.#innerUp, new Uint32Array(nodes));
    }
    return this.#inners++;
  }

  #giveInner(inner: number): void {
    this.#childCount[inner] = 0;
    this.#innerUp[inner] = this.#freeInner;
    this.#freeInner = inner;
  }
}

function enlarge<T extends Float64Array | Uint32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
