import type { ScatterEntry, ScatterSlice } from "@peerbar/core";

/** What the hardware translates a region with: its part of the DMA list, and the page size of the device's table. */
export class Translation {
  /** Bytes; what the device's table was built with. */
  readonly pageSize: bigint;
  readonly #slice: ScatterSlice;
  /** Offset of the region's first byte in its first page. */
  readonly #within: number;

  /** @param offset - the region's byte offset in the buffer. */
  constructor(slice: ScatterSlice, offset: bigint, pageSize: bigint) {
    this.#slice = slice;
    this.#within = Number(offset & 0xfffn);
    this.pageSize = pageSize;
  }

  get entries(): number {
    return this.#slice.entries;
  }

  /** @param offset - bytes from the region's start, inside it. Exact to 2^53. */
  locate(offset: number): ScatterEntry {
    return this.#slice.locate(BigInt(this.#within + offset));
  }
}
