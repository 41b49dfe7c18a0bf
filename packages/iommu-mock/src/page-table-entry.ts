// One entry is one double of 53 exact bits. A leaf holds the frame that the first page of its table would have, times 4096, and flags:
// neighbours that are contiguous in physical memory then hold the same number, so a run is written by one `fill` and read by comparing.
// That frame may be negative. A pointer to a table holds the table's number, times 2, and 1.
//
// Flags of a leaf: PROT_ bits at 2 to 5, from 6 on log2 of the entries that one page fills in its table (AMD v1). Hot code has these numbers
// as literals: a bundler makes variables of a module's constants, which the engine then loads, and divides by, each time.

/** 512 to the power of the index: pages that one entry of that level spans. */
export const SPAN = [1, 2 ** 9, 2 ** 18, 2 ** 27, 2 ** 36, 2 ** 45, 2 ** 54] as const;
/** @param frame - That of the table's first page. */
export function leafEntry(frame: number, prot: number, contig: number): number {
  return frame * 4096 + prot + (contig << 6);
}

/** The frame that the first page of a leaf's table would have. */
export function frameOf(entry: number): number {
  return (entry - (entry & 0xfff)) / 4096;
}

export function protOf(entry: number): number {
  return entry & 0x3c;
}

/** Entries that the page of a leaf entry fills in its table. */
export function stepOf(entry: number): number {
  return 1 << ((entry >>> 6) & 15);
}

export function tableEntry(table: number): number {
  return table * 2 + 1;
}

/** The table that an entry points to; 0 for a leaf. */
export function tableOf(entry: number): number {
  return (entry & 1) === 0 ? 0 : entry >>> 1;
}

/** For each log2 the largest supported one not above it. */
export function bestSizes(sizes: readonly number[]): Uint8Array {
  const best = new Uint8Array(64);
  for (let log2 = 0; log2 < best.length; log2++) {
    for (const size of sizes) if (size <= log2) best[log2] = size;
  }
  return best;
}

/** log2 of the largest power of two that divides both; 63 where both are 0. */
export function commonAlignment(a: number, b: number): number {
  const low = a | b;
  if (low !== 0) return 31 - Math.clz32(low & -low);
  // Both are multiples of 2^32.
  const high = (a / 2 ** 32) | (b / 2 ** 32);
  return high === 0 ? 63 : 63 - Math.clz32(high & -high);
}

export function floorLog2(pages: number): number {
  return pages < 2 ** 31 ? 31 - Math.clz32(pages) : 62 - Math.clz32(pages / 2 ** 31);
}
