/** Page frames that one magazine holds (IOVA_MAG_SIZE). */
const MAGAZINE_SIZE = 127;
/** Sizes with a cache: 1, 2, 4, ... 32 granules (dma-iova R20). */
export const CACHED_ORDERS = 6;

class Magazine {
  readonly pfns = new Float64Array(MAGAZINE_SIZE);
  size = 0;

  /** The newest frame at or below `limit`; 0 where there is none. */
  pop(limit: number): number {
    for (let i = this.size - 1; i >= 0; i--) {
      const pfn = this.pfns[i] ?? 0;
      if (pfn > limit) continue;
      this.size -= 1;
      this.pfns[i] = this.pfns[this.size] ?? 0;
      return pfn;
    }
    return 0;
  }
}

/** The cache of one size on one CPU: two magazines and a depot of full ones (dma-iova R20). Checks nothing, as the kernel's. */
class Bucket {
  #loaded = new Magazine();
  #previous = new Magazine();
  readonly #depot: Magazine[] = [];

  get size(): number {
    return this.#loaded.size + this.#previous.size + this.#depot.length * MAGAZINE_SIZE;
  }

  push(pfn: number, depotLimit: number): boolean {
    if (this.#loaded.size === MAGAZINE_SIZE) {
      if (this.#previous.size < MAGAZINE_SIZE) this.#swap();
      else {
        if (this.#depot.length >= depotLimit) return false;
        this.#depot.push(this.#loaded);
        this.#loaded = new Magazine();
      }
    }
    this.#loaded.pfns[this.#loaded.size++] = pfn;
    return true;
  }

  pop(limit: number): number {
    if (this.#loaded.size === 0) {
      if (this.#previous.size > 0) this.#swap();
      else {
        const full = this.#depot.pop();
        if (full === undefined) return 0;
        this.#loaded = full;
      }
    }
    return this.#loaded.pop(limit);
  }

  /** Every frame held, and the bucket is empty. */
  *drain(): Generator<number> {
    for (const magazine of [this.#loaded, this.#previous, ...this.#depot.splice(0)]) {
      const { size } = magazine;
      magazine.size = 0;
      for (let i = 0; i < size; i++) yield magazine.pfns[i] ?? 0;
    }
  }

  #swap(): void {
    const loaded = this.#loaded;
    this.#loaded = this.#previous;
    this.#previous = loaded;
  }
}

/** The per-size caches of one IOVA domain on one CPU. Made when first used: most domains of a machine stay idle. */
export class IovaCache {
  readonly #buckets: (Bucket | undefined)[] = [];
  readonly #depotLimit: number;

  /** @param depotLimit - Full magazines kept per size; the kernel's depot has no bound of its own. */
  constructor(depotLimit: number) {
    this.#depotLimit = depotLimit;
  }

  /** Frames held, of all sizes. */
  get size(): number {
    return this.#buckets.reduce((sum, bucket) => sum + (bucket?.size ?? 0), 0);
  }

  /** False where the size has no cache, or the cache is full. */
  push(pfn: number, granules: number): boolean {
    const order = orderOf(granules);
    if (order >= CACHED_ORDERS) return false;
    let bucket = this.#buckets[order];
    if (bucket === undefined) {
      bucket = new Bucket();
      this.#buckets[order] = bucket;
    }
    return bucket.push(pfn, this.#depotLimit);
  }

  /** The newest frame of that size at or below `limit`; 0 where there is none. */
  pop(granules: number, limit: number): number {
    return this.#buckets[orderOf(granules)]?.pop(limit) ?? 0;
  }

  *drain(): Generator<number> {
    for (const bucket of this.#buckets) if (bucket !== undefined) yield* bucket.drain();
  }
}

/** log2 of the number rounded up to a power of two (`order_base_2`); 0 for 0. */
function orderOf(granules: number): number {
  if (granules <= 1) return 0;
  return granules <= 0x8000_0000 ? 32 - Math.clz32(granules - 1) : Math.ceil(Math.log2(granules));
}

/** The number rounded up to a power of two (`roundup_pow_of_two`). */
export function powerOfTwo(granules: number): number {
  return granules <= 0x4000_0000 ? 1 << orderOf(granules) : 2 ** orderOf(granules);
}
