import { ADDRESS_LIMIT } from "@peerbar/core";

/** The DMA list of a region, in page frames: `ScatterSlice` has this shape. */
export interface PageEntries {
  /** Entries of the list. */
  readonly entries: number;
  /** First page frame of entry `i`. */
  pfn(i: number): number;
  /** Length of entry `i`, in pages. */
  pages(i: number): number;
}

const LOW_BITS = 2 ** 32;

/** Bits that differ between two page frame numbers, collected over a walk; 53 bits in two halves, as numbers. */
class Differences {
  #low = 0;
  #high = 0;

  add(a: number, b: number): void {
    this.#low |= a ^ b;
    this.#high |= Math.floor(a / LOW_BITS) ^ Math.floor(b / LOW_BITS);
  }

  /** Lowest bit that differs, counted from bit 0 of the page frame; undefined where none does. */
  get lowest(): number | undefined {
    if (this.#low !== 0) return 31 - Math.clz32(this.#low & -this.#low);
    if (this.#high !== 0) return 63 - Math.clz32(this.#high & -this.#high);
    return undefined;
  }
}

/**
 * `ib_umem_find_best_pgsz`: the largest supported page size with which the device's table leads every address of the region to the right
 * byte (rdma-umem R33 to R35).
 *
 * @param entries - DMA list, whole pages, from the page that holds the region's first byte.
 * @param offset - The region's byte offset in the buffer; its low 12 bits are the offset in the first page.
 * @param virt - IOVA of the region's first byte.
 * @param length - Bytes, more than 0.
 * @param supported - Bit `n` set: pages of `2^n` bytes are supported.
 * @returns bytes; 0 where no supported size fits, or the region wraps.
 */
export function findBestPageSize(
  entries: PageEntries,
  offset: bigint,
  virt: bigint,
  length: bigint,
  supported: bigint,
): bigint {
  const last = virt + length - 1n;
  if (last >= ADDRESS_LIMIT) return 0n;
  const limits = [lowestBit(walk(entries, offset, virt)), smallestCovering(virt, last, supported)];
  let usable = supported;
  for (const limit of limits) if (limit !== undefined) usable &= (2n << BigInt(limit)) - 1n;
  return highestBit(usable);
}

/** Where the walk and the offset in the page forbid larger pages: the lowest bit of which DMA address and virtual address disagree. */
function walk(entries: PageEntries, offset: bigint, virt: bigint): Differences | number {
  const within = (offset ^ virt) & 0xfffn;
  if (within !== 0n) return Number(lowestSet(within));
  const differences = new Differences();
  let va = Number(virt >> 12n);
  let next = -1;
  for (let i = 0; i < entries.entries; i++) {
    const pfn = entries.pfn(i);
    if (pfn !== next) {
      differences.add(pfn, va);
      // A page may not reach over the border to an entry that does not follow in memory.
      if (i > 0) differences.add(va, 0);
    }
    const pages = entries.pages(i);
    next = pfn + pages;
    va += pages;
  }
  return differences;
}

function lowestBit(found: Differences | number): number | undefined {
  if (typeof found === "number") return found;
  return found.lowest === undefined ? undefined : found.lowest + 12;
}

/** Bit of the smallest supported size that spans the whole region: larger ones would be needless. */
function smallestCovering(virt: bigint, last: bigint, supported: bigint): number | undefined {
  const bits = BigInt((virt ^ last).toString(2).replace(/^0$/, "").length);
  if (bits >= 64n) return undefined;
  const covering = (supported >> bits) << bits;
  return covering === 0n ? undefined : Number(lowestSet(covering));
}

function lowestSet(value: bigint): bigint {
  return BigInt((value & -value).toString(2).length - 1);
}

function highestBit(value: bigint): bigint {
  return value === 0n ? 0n : 1n << BigInt(value.toString(2).length - 1);
}
