import type { Area } from "./area.js";
import { ANCHOR } from "./range-nodes.js";
import { RangeTree } from "./range-tree.js";

/**
 * The areas of one address space by IOVA. A JavaScript Map with this much coming and going rehashes all the time. An area may end with the
 * space: one past its last page is where the tree's anchor is, which is no area.
 */
export class AreaTable implements Iterable<Area> {
  readonly #tree = new RangeTree(true);
  readonly #slots: (Area | undefined)[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#tree.size;
  }

  /** In address order. The table must not change meanwhile. */
  *[Symbol.iterator](): Iterator<Area> {
    for (let at = 0; ; ) {
      const area = this.from(at);
      if (area === undefined) return;
      yield area;
      at = area.page + area.count;
    }
  }

  /** The area that contains the page. */
  at(page: number): Area | undefined {
    return page < ANCHOR && this.#tree.find(page) ? this.#slots[this.#tree.value] : undefined;
  }

  /** The area that contains the page, or else the next above it. */
  from(page: number): Area | undefined {
    if (page >= ANCHOR) return undefined;
    if (!this.#tree.find(page)) {
      this.#tree.lowerBound(page);
      if (this.#tree.low >= ANCHOR) return undefined;
    }
    return this.#slots[this.#tree.value];
  }

  /** True where an area meets the stretch. */
  meets(first: number, end: number): boolean {
    if (first >= ANCHOR) return false;
    if (this.#tree.find(first)) return true;
    this.#tree.lowerBound(first);
    return this.#tree.low < end && this.#tree.low < ANCHOR;
  }

  /** The lowest free place; see {@link RangeTree.bottomUp}. */
  lowestFit(low: number, end: number, count: number, align: number, within: number): number {
    return this.#tree.bottomUp(low, end, count, align, within);
  }

  add(area: Area): void {
    const slot = this.#free.pop() ?? this.#slots.length;
    this.#slots[slot] = area;
    this.#tree.insert(area.page, area.count, slot);
  }

  remove(area: Area): void {
    if (!this.#tree.find(area.page)) return;
    const slot = this.#tree.value;
    this.#slots[slot] = undefined;
    this.#free.push(slot);
    this.#tree.remove();
  }
}
