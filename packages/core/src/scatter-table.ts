import { busAddr, type DmaAddr, fromPfn, iova, PAGE_SHIFT, PAGE_SIZE } from "./address.js";
import { DmaBufError } from "./error.js";

/** Longest entry, in bytes: UINT_MAX rounded down to a page (vfio-pci-dmabuf R33, dma-iova R26). */
export const MAX_SEGMENT_BYTES = 0xffff_f000;
/** {@link MAX_SEGMENT_BYTES} in pages. */
export const MAX_SEGMENT_PAGES = 0xf_ffff;

/** Which space the addresses of a table belong to. A direct mapping (no IOMMU) is "bus". */
export type DmaSpace = "bus" | "iova";

/** One entry, at the edge: bytes as bigint and number. */
export interface ScatterEntry {
  /** DMA address of the first byte, for one device (dma-buf R23). */
  readonly address: DmaAddr;
  /** Bytes, at most {@link MAX_SEGMENT_BYTES}. */
  readonly length: number;
}

/** A stretch of page frames before it is split into entries. */
export interface PageSpan {
  /** First page frame: DMA address in pages of 4 KiB. */
  readonly pfn: number;
  /** Pages of 4 KiB. */
  readonly pages: number;
}

/**
 * The DMA list that `map` returns: addresses for one device, never CPU pages (dma-buf R23). Whole pages, in typed arrays;
 * iteration and slices copy nothing. The exporter owns the table; the importer gives the same object back to `unmap`.
 */
export class ScatterTable implements Iterable<ScatterEntry> {
  readonly space: DmaSpace;
  /** Page frame number of each entry. Do not write. */
  readonly pfns: Float64Array;
  /** Length of each entry, in pages. Do not write. */
  readonly pages: Uint32Array;
  /** Sum of all entries, in pages; exact up to 2^53 pages. */
  readonly totalPages: number;

  /** First page of each entry, counted from the start of the buffer; made when first asked for. */
  #starts: Float64Array | undefined;

  /** @throws DmaBufError EINVAL where the arrays differ in length. */
  constructor(space: DmaSpace, pfns: Float64Array, pages: Uint32Array) {
    if (pfns.length !== pages.length) {
      throw new DmaBufError(
        "EINVAL",
        "scatterlist",
        `${String(pfns.length)} addresses for ${String(pages.length)} lengths`,
      );
    }
    this.space = space;
    this.pfns = pfns;
    this.pages = pages;
    let total = 0;
    for (const count of pages) total += count;
    this.totalPages = total;
  }

  /**
   * Splits each span at {@link MAX_SEGMENT_PAGES}; neighbouring spans are never merged (vfio-pci-dmabuf R34, R35).
   *
   * @throws DmaBufError EINVAL for no span, a span without pages, or more entries than a list can count.
   */
  static fromSpans(space: DmaSpace, spans: readonly PageSpan[]): ScatterTable {
    let entries = 0;
    for (const { pages } of spans) {
      if (!Number.isSafeInteger(pages) || pages <= 0)
        throw badList(`a span of ${String(pages)} pages`);
      entries += Math.ceil(pages / MAX_SEGMENT_PAGES);
    }
    if (entries === 0 || entries > 0xffff_ffff) {
      throw badList(`${String(entries)} entries do not fit a list`);
    }
    const pfns = new Float64Array(entries);
    const pages = new Uint32Array(entries);
    let at = 0;
    for (const span of spans) {
      let { pfn, pages: left } = span;
      while (left > 0) {
        const now = Math.min(left, MAX_SEGMENT_PAGES);
        pfns[at] = pfn;
        pages[at] = now;
        at += 1;
        pfn += now;
        left -= now;
      }
    }
    return new ScatterTable(space, pfns, pages);
  }

  /** Number of entries (`nents`). */
  get entries(): number {
    return this.pages.length;
  }

  /** Sum of all lengths, in bytes. */
  get size(): bigint {
    return BigInt(this.totalPages) << BigInt(PAGE_SHIFT);
  }

  /** The entries in order; each is made as it is asked for. */
  *[Symbol.iterator](): Iterator<ScatterEntry> {
    for (let i = 0; i < this.pages.length; i++) yield this.entry(i);
  }

  /** @throws RangeError past the last entry. */
  entry(index: number): ScatterEntry {
    const pfn = this.pfns[index];
    const pages = this.pages[index];
    if (pfn === undefined || pages === undefined) {
      throw new RangeError(`entry ${String(index)} of ${String(this.entries)}`);
    }
    return { address: this.addressOf(pfn), length: pages * PAGE_SIZE };
  }

  /** Where byte `offset` of the buffer is, and how many bytes follow it in the same entry. @throws RangeError outside the table. */
  locate(offset: bigint): ScatterEntry {
    if (offset < 0n || offset >= this.size) {
      throw new RangeError(`offset ${String(offset)} of ${String(this.size)} bytes`);
    }
    const page = Number(offset >> BigInt(PAGE_SHIFT));
    const within = Number(offset & BigInt(PAGE_SIZE - 1));
    const index = this.#entryOf(page);
    const skip = page - (this.#firstPages()[index] ?? 0);
    const address = this.addressOf((this.pfns[index] ?? 0) + skip);
    return {
      address: (address + BigInt(within)) as DmaAddr,
      length: ((this.pages[index] ?? 0) - skip) * PAGE_SIZE - within,
    };
  }

  /**
   * The pages `[firstPage, firstPage + pageCount)` as a view: the arrays are shared, only the two ends are trimmed. The table itself
   * stays as it is, so an unmap after a slice needs nothing restored (rdma-umem R10).
   *
   * @throws RangeError for no pages, or some outside the table.
   */
  slice(firstPage: number, pageCount: number): ScatterSlice {
    const whole = Number.isSafeInteger(firstPage) && Number.isSafeInteger(pageCount);
    if (!whole || firstPage < 0 || pageCount <= 0 || firstPage + pageCount > this.totalPages) {
      throw new RangeError(
        `pages ${String(firstPage)}+${String(pageCount)} of ${String(this.totalPages)}`,
      );
    }
    const starts = this.#firstPages();
    const first = this.#entryOf(firstPage);
    const last = this.#entryOf(firstPage + pageCount - 1);
    const skip = firstPage - (starts[first] ?? 0);
    const end = firstPage + pageCount - (starts[last] ?? 0);
    return new ScatterSlice(this, { firstPage, pageCount, first, last, skip, end });
  }

  /** @internal */
  addressOf(pfn: number): DmaAddr {
    return this.space === "bus" ? busAddr(fromPfn(pfn)) : iova(fromPfn(pfn));
  }

  #firstPages(): Float64Array {
    if (this.#starts !== undefined) return this.#starts;
    const starts = new Float64Array(this.pages.length);
    let total = 0;
    for (let i = 0; i < this.pages.length; i++) {
      starts[i] = total;
      total += this.pages[i] ?? 0;
    }
    this.#starts = starts;
    return starts;
  }

  /** Index of the entry that has that page of the buffer; the caller has checked that there is one. */
  #entryOf(page: number): number {
    const starts = this.#firstPages();
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((starts[middle] ?? 0) <= page) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function badList(reason: string): DmaBufError {
  return new DmaBufError("EINVAL", "scatterlist", reason, { rule: "vfio-pci-dmabuf R34" });
}

/** Where a slice begins and ends. */
interface SliceBounds {
  /** In pages of the table. */
  readonly firstPage: number;
  readonly pageCount: number;
  /** The entries it touches. */
  readonly first: number;
  readonly last: number;
  /** Pages cut off the front of the first entry. */
  readonly skip: number;
  /** Pages of the last entry that belong to the slice, counted from that entry's own start. */
  readonly end: number;
}

/** A part of a {@link ScatterTable}: what `ib_umem_dmabuf` trims a mapping to (rdma-umem R7, R8). */
export class ScatterSlice implements Iterable<ScatterEntry> {
  readonly table: ScatterTable;
  readonly #first: number;
  readonly #last: number;
  readonly #skip: number;
  readonly #end: number;
  readonly #firstPage: number;
  readonly #pageCount: number;

  /** @internal Made by {@link ScatterTable.slice}. */
  constructor(table: ScatterTable, bounds: SliceBounds) {
    this.table = table;
    this.#first = bounds.first;
    this.#last = bounds.last;
    this.#skip = bounds.skip;
    this.#end = bounds.end;
    this.#firstPage = bounds.firstPage;
    this.#pageCount = bounds.pageCount;
  }

  /** Number of entries the slice touches. */
  get entries(): number {
    return this.#last - this.#first + 1;
  }

  /** Sum of all lengths, in bytes. */
  get size(): bigint {
    return BigInt(this.#pageCount) << BigInt(PAGE_SHIFT);
  }

  /**
   * Where byte `offset` of the slice is, and how many bytes of the slice follow it in the same entry: by the table's own index.
   *
   * @throws RangeError outside the slice.
   */
  locate(offset: bigint): ScatterEntry {
    const left = this.size - offset;
    if (offset < 0n || left <= 0n) {
      throw new RangeError(`offset ${String(offset)} of ${String(this.size)} bytes`);
    }
    const start = BigInt(this.#firstPage) << BigInt(PAGE_SHIFT);
    const { address, length } = this.table.locate(start + offset);
    return { address, length: left < BigInt(length) ? Number(left) : length };
  }

  /** First page frame of entry `i` of the slice. */
  pfn(i: number): number {
    return (this.table.pfns[this.#first + i] ?? 0) + (i === 0 ? this.#skip : 0);
  }

  /** Pages of entry `i` of the slice. */
  pages(i: number): number {
    const index = this.#first + i;
    const end = index === this.#last ? this.#end : (this.table.pages[index] ?? 0);
    return end - (i === 0 ? this.#skip : 0);
  }

  /** The entries in order; each is made as it is asked for. */
  *[Symbol.iterator](): Iterator<ScatterEntry> {
    for (let i = 0; i < this.entries; i++) {
      yield { address: this.table.addressOf(this.pfn(i)), length: this.pages(i) * PAGE_SIZE };
    }
  }
}
