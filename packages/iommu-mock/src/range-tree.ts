import { PAGE_SIZE } from "@peerbar/core";
import { ESCAPE, META, NEXT, PREV, UP, WIDTH } from "./range-nodes.js";
import { RangeStructure } from "./range-structure.js";

/**
 * Disjoint ranges in address order: a B+ tree on typed arrays that knows the largest hole below each subtree, so that the highest or
 * lowest fitting hole is found without walking the ranges. About 12 bytes a range. Units are the caller's; fractions are fine.
 * The space runs from 0 to {@link ANCHOR}, where an item that is never removed ends it.
 */
export class RangeTree extends RangeStructure {
  /** Item that the last find, lowerBound or search stopped at. */
  #leaf = 1;
  #at = 0;

  /** Low end of the item found last. */
  get low(): number {
    return this.lows[this.#leaf * WIDTH + this.#at] ?? 0;
  }

  /** Length of the item found last. */
  get length(): number {
    return this.lengthAt(this.#leaf * WIDTH + this.#at);
  }

  /** What the item found last carries. */
  get value(): number {
    return this.values[this.#leaf * WIDTH + this.#at] ?? 0;
  }

  /** Goes to the range that contains `address`; false where there is none. */
  find(address: number): boolean {
    this.#descend(address);
    const lows = this.lows;
    const base = this.#leaf * WIDTH;
    let at = (this.meta[this.#leaf * META] ?? 0) - 1;
    while (at >= 0 && (lows[base + at] ?? 0) > address) at -= 1;
    if (at < 0) {
      // A range may reach beyond the key that parts its leaf from the next.
      this.#leaf = this.meta[this.#leaf * META + PREV] ?? 0;
      if (this.#leaf === 0) {
        this.#leaf = base / WIDTH;
        return false;
      }
      at = (this.meta[this.#leaf * META] ?? 0) - 1;
    }
    this.#at = at;
    const slot = this.#leaf * WIDTH + at;
    return address < (lows[slot] ?? 0) + this.lengthAt(slot);
  }

  /** Goes to the first item whose low end is at or above `address`: the anchor at the latest. */
  lowerBound(address: number): void {
    this.#descend(address);
    const lows = this.lows;
    const base = this.#leaf * WIDTH;
    const count = this.meta[this.#leaf * META] ?? 0;
    let at = 0;
    while (at < count && (lows[base + at] ?? 0) < address) at += 1;
    if (at < count) this.#at = at;
    else {
      this.#leaf = this.meta[this.#leaf * META + NEXT] ?? 0;
      this.#at = 0;
    }
  }

  /** Low end of the item after the current one. */
  get lowAbove(): number {
    return this.lows[this.#slotAbove()] ?? 0;
  }

  /** Length of the item after the current one. */
  get lengthAbove(): number {
    return this.lengthAt(this.#slotAbove());
  }

  /** Adds a range. The caller has made sure that it meets no other. */
  insert(low: number, length: number, value = 0): void {
    this.#descend(low);
    const leaf = this.#leaf;
    const lows = this.lows;
    const count = this.meta[leaf * META] ?? 0;
    let at = count;
    while (at > 0 && (lows[leaf * WIDTH + at - 1] ?? 0) > low) at -= 1;
    this.#at = at;
    this.#insertAt(low, length, value);
    // At the end of its leaf it takes over a hole that counted at the next one.
    if (at === count) this.raise(this.#leaf, low - this.endBefore(this.#leaf, this.#at));
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
    if (this.meta[leaf * META] === WIDTH) {
      // Ranges mostly arrive in descending or ascending order: the leaf left behind then stays nearly full.
      const keep = at <= 2 ? Math.max(1, at) : at >= WIDTH - 2 ? at - 1 : WIDTH / 2;
      const right = this.splitLeaf(leaf, keep);
      if (at > keep) {
        at -= keep;
        leaf = right;
      }
    }
    this.openSlot(leaf, at);
    const slot = leaf * WIDTH + at;
    this.lows[slot] = low;
    this.setLength(slot, low, length);
    if (this.values.length > 0) this.values[slot] = value;
    this.size += 1;
    this.#leaf = leaf;
    this.#at = at;
    this.#lower(leaf, at, low, length);
  }

  /** After an insert: where it went into the largest hole, the second or what is left of the first is the largest now. */
  #lower(leaf: number, at: number, low: number, length: number): void {
    if (at + 1 >= (this.meta[leaf * META] ?? 0)) return;
    const below = low - this.endBefore(leaf, at);
    const above = (this.lows[leaf * WIDTH + at + 1] ?? 0) - low - length;
    const second = this.bound[leaf * 2 + 1] ?? 0;
    if (below + length + above <= second) return;
    this.setLargest(leaf, Math.max(second, below, above));
    this.bound[leaf * 2 + 1] = Math.max(second, Math.min(below, above));
  }

  /** Removes the item found last. */
  remove(): void {
    const leaf = this.#leaf;
    const at = this.#at;
    const lows = this.lows;
    const lengths = this.lengths;
    const base = leaf * WIDTH;
    const count = (this.meta[leaf * META] ?? 0) - 1;
    if (lengths[base + at] === ESCAPE) this.longLengths.delete(lows[base + at] ?? 0);
    for (let i = base + at; i < base + count; i++) {
      lows[i] = lows[i + 1] ?? 0;
      lengths[i] = lengths[i + 1] ?? 0;
    }
    if (this.values.length > 0) this.values.copyWithin(base + at, base + at + 1, base + count + 1);
    this.meta[leaf * META] = count;
    this.size -= 1;
    const next = this.meta[leaf * META + NEXT] ?? 0;
    if (count === 0) {
      this.dropLeaf(leaf);
      this.raise(next, (this.lows[next * WIDTH] ?? 0) - this.endBefore(next, 0));
    } else if (count <= WIDTH / 4 && this.mergeNext(leaf)) this.refresh(leaf);
    else if (at < count) this.raise(leaf, (lows[base + at] ?? 0) - this.endBefore(leaf, at));
    else this.raise(next, (lows[next * WIDTH] ?? 0) - this.endBefore(next, 0));
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
      if (from + 1 === this.meta[leaf * META]) this.refresh(leaf);
      leaf = this.#leafBefore(leaf, size, low);
      if (leaf === 0) return -1;
      from = (this.meta[leaf * META] ?? 0) - 1;
    }
  }

  /**
   * The lowest place where `size` pages fit at or above `low` and below `bound`: the first multiple of `align` in a hole, with the bits of
   * `within`, a part of a page, set in it (iommufd R6); -1 where there is none.
   */
  bottomUp(low: number, bound: number, size: number, align: number, within: number): number {
    this.lowerBound(low);
    let leaf = this.#leaf;
    let from = this.#at;
    for (;;) {
      const count = this.meta[leaf * META] ?? 0;
      for (let at = from; at < count; at++) {
        const start = Math.max(low, this.endBefore(leaf, at));
        if (start >= bound) return -1;
        const aligned = Math.ceil(start / align) * align;
        const base = within === 0 ? aligned : setWithin(aligned, within);
        const end = Math.min(bound, this.lows[leaf * WIDTH + at] ?? 0);
        if (base + size <= end) return base;
      }
      if (from === 0) this.refresh(leaf);
      leaf = this.#leafAfter(leaf, size);
      if (leaf === 0) return -1;
      from = 0;
    }
  }

  #slotAbove(): number {
    return this.#at + 1 < (this.meta[this.#leaf * META] ?? 0)
      ? this.#leaf * WIDTH + this.#at + 1
      : (this.meta[this.#leaf * META + NEXT] ?? 0) * WIDTH;
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
      const itemLow = this.lows[base + at] ?? 0;
      const end = Math.min(itemLow, bound);
      if (end <= low) return -1;
      const start = this.endBefore(leaf, at);
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

  /** Goes to the leaf where `address` belongs. */
  #descend(address: number): void {
    const keys = this.keys;
    const children = this.children;
    const counts = this.childCount;
    let node = this.root;
    for (let height = this.height; height > 0; height--) {
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
    const address = this.lows[leaf * WIDTH] ?? 0;
    let up = this.meta[leaf * META + UP] ?? 0;
    for (let height = 1; up !== 0; height++) {
      const base = up * WIDTH;
      for (let i = this.indexOfKey(up, address) - 1; i >= 0; i--) {
        if ((this.keys[base + i + 1] ?? 0) <= low) return 0;
        if ((this.gaps[base + i] ?? 0) >= size) {
          return this.#edgeLeaf(this.children[base + i] ?? 0, height - 1, size, -1);
        }
      }
      up = this.innerUp[up] ?? 0;
    }
    return 0;
  }

  /** The nearest leaf above `leaf` with a hole of `size`, or 0. */
  #leafAfter(leaf: number, size: number): number {
    const address = this.lows[leaf * WIDTH] ?? 0;
    let up = this.meta[leaf * META + UP] ?? 0;
    for (let height = 1; up !== 0; height++) {
      const base = up * WIDTH;
      const count = this.childCount[up] ?? 0;
      for (let i = this.indexOfKey(up, address) + 1; i < count; i++) {
        if ((this.gaps[base + i] ?? 0) >= size) {
          return this.#edgeLeaf(this.children[base + i] ?? 0, height - 1, size, 1);
        }
      }
      up = this.innerUp[up] ?? 0;
    }
    return 0;
  }

  /** The last (step -1) or first (step 1) leaf below `node` with a hole of `size`. */
  #edgeLeaf(from: number, height: number, size: number, step: 1 | -1): number {
    let node = from;
    for (let left = height; left > 0; left--) {
      const base = node * WIDTH;
      const count = this.childCount[node] ?? 0;
      let i = step === 1 ? 0 : count - 1;
      while ((this.gaps[base + i] ?? 0) < size && i + step >= 0 && i + step < count) i += step;
      node = this.children[base + i] ?? 0;
    }
    return node;
  }
}

/** `page | within`, both in pages: the kernel sets the bits and does not add, whatever is there already (iommufd R6). */
function setWithin(page: number, within: number): number {
  const whole = Math.floor(page);
  return whole + (((page - whole) * PAGE_SIZE) | (within * PAGE_SIZE)) / PAGE_SIZE;
}
