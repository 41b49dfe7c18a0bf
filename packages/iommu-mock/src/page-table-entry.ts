// One entry is one double: page frame * 4096 + flags. 41 bits of frame and 12 of flags are exact.
export const FLAGS = 4096;
export const LEAF = 1;
export const TABLE = 2;
/** log2 of the entries that one page fills in its table (AMD v1), at this bit. */
export const CONTIG_SHIFT = 6;
/** 512 to the power of the index: pages that one entry of that level spans. */
export const SPAN = [1, 2 ** 9, 2 ** 18, 2 ** 27, 2 ** 36, 2 ** 45, 2 ** 54] as const;
/** Powers of two up to 2^52: an exponent known only at run time makes `**` a library call. */
export const POWER: readonly number[] = Array.from({ length: 53 }, (_, log2) => 2 ** log2);
/** An IOVA is split here into two integers: levels 0 to 2 below, 3 to 5 above. */
export const LOW_PAGES = 2 ** 27;

/** The frame or table number in an entry. */
export function frameOf(entry: number): number {
  return (entry - (entry & (FLAGS - 1))) / FLAGS;
}

/** Entries that the page of a leaf entry fills in its table. */
export function stepOf(entry: number): number {
  return 1 << ((entry >>> CONTIG_SHIFT) & 15);
}

export function isEmpty(entries: Float64Array, slot: number, step: number): boolean {
  for (let i = slot; i < slot + step; i++) if (entries[i] !== 0) return false;
  return true;
}

/** Without `%`, which is a library call on doubles. */
export function isMultiple(pages: number, size: number): boolean {
  return Math.floor(pages / size) * size === pages;
}

export function indexOf(page: number): number {
  return page - Math.floor(page / 512) * 512;
}

export function bestSizes(sizes: readonly number[]): Uint8Array {
  const best = new Uint8Array(64);
  for (let log2 = 0; log2 < best.length; log2++) {
    for (const size of sizes) if (size <= log2) best[log2] = size;
  }
  return best;
}

export function trailingZeros(pages: number): number {
  if (pages === 0) return 63;
  const high = Math.floor(pages / LOW_PAGES);
  const low = pages - high * LOW_PAGES;
  return low !== 0 ? 31 - Math.clz32(low & -low) : 27 + 31 - Math.clz32(high & -high);
}

export function floorLog2(pages: number): number {
  return pages < LOW_PAGES
    ? 31 - Math.clz32(pages)
    : 27 + 31 - Math.clz32(Math.floor(pages / LOW_PAGES));
}
