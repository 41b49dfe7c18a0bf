import { type DmaAddr, fromPfn, PAGE_SIZE, type ScatterSlice } from "@peerbar/core";

/** Where a stretch of a region is for the device, and how many bytes follow it there. */
export interface DmaSpan {
  readonly address: DmaAddr;
  readonly bytes: number;
}

/** A region's DMA list with an index, so that finding a byte does not walk it. */
export class Translation {
  /** Bytes; what the device's table was built with. */
  readonly pageSize: bigint;
  readonly #slice: ScatterSlice;
  /** Pages before entry `i`. */
  readonly #before: Float64Array;
  /** Offset of the region's first byte in its first page. */
  readonly #within: number;

  /** @param offset - the region's byte offset in the buffer. */
  constructor(slice: ScatterSlice, offset: bigint, pageSize: bigint) {
    this.#slice = slice;
    this.#within = Number(offset & 0xfffn);
    this.pageSize = pageSize;
    this.#before = new Float64Array(slice.entries);
    let pages = 0;
    for (let i = 0; i < slice.entries; i++) {
      this.#before[i] = pages;
      pages += slice.pages(i);
    }
  }

  get entries(): number {
    return this.#slice.entries;
  }

  /** @param offset - bytes from the region's start, inside it. Exact to 2^53. */
  locate(offset: number): DmaSpan {
    const at = this.#within + offset;
    const page = Math.floor(at / PAGE_SIZE);
    const within = at % PAGE_SIZE;
    let low = 0;
    let high = this.#before.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#before[middle] ?? 0) <= page) low = middle;
      else high = middle - 1;
    }
    const into = page - (this.#before[low] ?? 0);
    const address = fromPfn(this.#slice.pfn(low) + into) + BigInt(within);
    return {
      address: address as DmaAddr,
      bytes: (this.#slice.pages(low) - into) * PAGE_SIZE - within,
    };
  }
}
