import { CACHED_ORDERS, IovaCache, powerOfTwo } from "./iova-cache.js";
import type { KernelLog } from "./kernel-log.js";
import { ANCHOR } from "./range-nodes.js";
import { RangeTree } from "./range-tree.js";

/** A stretch of granules. */
export interface GranuleRange {
  /** First granule: IOVA divided by the granule's bytes. */
  readonly first: number;
  /** Last granule, included. */
  readonly last: number;
}

/** The space that IOVAs are taken from, and how. */
export interface IovaAllocatorOptions {
  /** log2 of the granule in bytes; 12 by default. */
  readonly shift?: number;
  /** Lowest granule handed out; 1 by default, so that 0 can mean failure (dma-iova R25). */
  readonly firstGranule?: number;
  /** Never handed out (dma-iova R19); may overlap. */
  readonly reserved?: readonly GranuleRange[];
  /** Full magazines kept for each size; the kernel sets no bound. 0 leaves two magazines. */
  readonly depotLimit?: number;
  /** Without the per-size caches every free goes to the tree at once. */
  readonly caching?: boolean;
  readonly log?: KernelLog;
}

/**
 * The IOVA allocator of one DMA domain, as drivers/iommu/iova.c works on one CPU: top-down from a cached position, naturally aligned,
 * with per-size caches in front. Granules throughout; misuse behaves as in the kernel (dma-iova R21, R22): the DMA API above checks.
 */
export class IovaAllocator {
  readonly #tree = new RangeTree();
  readonly #cache: IovaCache | undefined;
  readonly #log: KernelLog | undefined;
  readonly #firstGranule: number;
  /** First granule at 4 GiB. */
  readonly #limit32: number;
  readonly #reservedCount: number;
  /** 32-bit requests from this size on are known to fail (dma-iova R24). */
  #max32Size: number;
  // Where the next search starts: the range added last, apart for below 4 GiB and above (dma-iova R17).
  #cached32Low = ANCHOR;
  #cached32High = ANCHOR;
  #cachedLow = ANCHOR;
  #cachedHigh = ANCHOR;

  /** All of the space is free but for `reserved`. */
  constructor(options: IovaAllocatorOptions = {}) {
    this.#firstGranule = options.firstGranule ?? 1;
    this.#limit32 = 2 ** (32 - (options.shift ?? 12));
    this.#max32Size = this.#limit32;
    this.#log = options.log;
    this.#cache =
      options.caching === false
        ? undefined
        : new IovaCache(options.depotLimit ?? Number.POSITIVE_INFINITY);
    this.#tree.insert(0, this.#firstGranule);
    for (const range of options.reserved ?? []) this.#reserve(range);
    this.#reservedCount = this.#tree.size;
  }

  /** Ranges that are neither free nor cached. */
  get live(): number {
    return this.#tree.size - this.#reservedCount - this.cached;
  }

  /** Ranges that wait in the caches. */
  get cached(): number {
    return this.#cache?.size ?? 0;
  }

  /**
   * `alloc_iova_fast`: at most `limit` (the last granule allowed); 0 where there is no room (dma-iova R25).
   *
   * @param flush - Empty the caches and try once more before giving up (dma-iova R23).
   */
  alloc(granules: number, limit: number, flush: boolean): number {
    // Sizes with a cache are powers of two, so that a cached range fits every request of its size (dma-iova R15).
    const size = granules < 1 << (CACHED_ORDERS - 1) ? powerOfTwo(granules) : granules;
    const cached = this.#cache?.pop(size, limit + 1 - size) ?? 0;
    if (cached !== 0) return cached;
    const found = this.#allocRange(size, limit);
    if (found !== 0 || !flush) return found;
    this.flush();
    return this.#allocRange(size, limit);
  }

  /** `free_iova_fast`: the size as asked for; its class is the same (dma-iova R15). Pushes without any check (dma-iova R22). */
  free(granule: number, granules: number): void {
    if (this.#cache?.push(granule, granules) === true) return;
    this.freeRange(granule);
  }

  /** `free_iova`: removes the whole range that contains the granule; nothing where there is none (dma-iova R21). */
  freeRange(granule: number): boolean {
    const tree = this.#tree;
    if (!tree.find(granule) || tree.low < this.#firstGranule || tree.low >= ANCHOR) return false;
    const { low } = tree;
    this.#movePositions(low, low + tree.length - 1);
    tree.remove();
    return true;
  }

  /** Empties the caches into the tree; a range that was freed twice is missed the second time (dma-iova R22). */
  flush(): void {
    if (this.#cache === undefined) return;
    for (const granule of this.#cache.drain()) {
      if (!this.freeRange(granule)) {
        this.#log?.warnOnce(
          "iova.magazine",
          "a cached IOVA is not allocated: it was freed twice",
          "dma-iova R22",
        );
      }
    }
  }

  /** Length of the allocated range that starts at the granule; 0 where none does. Ranges in the caches count as allocated. */
  sizeOf(granule: number): number {
    return this.#tree.find(granule) && this.#tree.low === granule ? this.#tree.length : 0;
  }

  #allocRange(size: number, limit: number): number {
    const bound = limit + 1;
    const is32 = bound <= this.#limit32;
    if (is32 && size >= this.#max32Size) return 0;
    const align = powerOfTwo(size);
    const low = is32 ? this.#cached32Low : this.#cachedLow;
    const high = is32 ? this.#cached32High : this.#cachedHigh;
    const tree = this.#tree;
    let found = tree.topDown(Math.min(bound, low), this.#firstGranule, size, align);
    // One retry, in what lies above the position (dma-iova R17).
    if (found < 0 && high + 1 < bound) found = tree.topDown(bound, high + 1, size, align);
    if (found < 0) {
      this.#max32Size = size;
      return 0;
    }
    tree.insertHere(found, size);
    if (found + size - 1 < this.#limit32) {
      this.#cached32Low = found;
      this.#cached32High = found + size - 1;
    } else {
      this.#cachedLow = found;
      this.#cachedHigh = found + size - 1;
    }
    return found;
  }

  /** Where a freed range was the position of a search, or above it, the search goes on from its upper neighbour. */
  #movePositions(low: number, high: number): void {
    const below32 = low === this.#cached32Low || (high < this.#limit32 && low >= this.#cached32Low);
    if (low < this.#limit32) this.#max32Size = this.#limit32;
    const above = low >= this.#cachedLow;
    if (!below32 && !above) return;
    const tree = this.#tree;
    const nextLow = tree.lowAbove;
    const nextHigh = nextLow + tree.lengthAbove - 1;
    if (below32) {
      this.#cached32Low = nextLow;
      this.#cached32High = nextHigh;
    }
    if (above) {
      this.#cachedLow = nextLow;
      this.#cachedHigh = nextHigh;
    }
  }

  /** `reserve_iova`: what overlaps becomes one range. */
  #reserve({ first, last }: GranuleRange): void {
    const tree = this.#tree;
    let low = first;
    let high = Math.min(last, ANCHOR - 1);
    if (low > high) return;
    for (;;) {
      let hit = tree.find(low);
      if (!hit) {
        tree.lowerBound(low);
        hit = tree.low <= high;
      }
      if (!hit) break;
      low = Math.min(low, tree.low);
      high = Math.max(high, tree.low + tree.length - 1);
      tree.remove();
    }
    tree.insert(low, high - low + 1);
  }
}
