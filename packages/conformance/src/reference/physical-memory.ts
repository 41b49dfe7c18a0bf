import { fromPfn, PAGE_BYTES, PAGE_SIZE, type PhysRange, physAddr, toPfn } from "@peerbar/core";

/**
 * Where memory belongs to a running kernel: descriptors of it. The suite's exporter then offers `fd` too, and an importer over the kernel's
 * own IOMMU can be run against it.
 */
export interface DescriptorSource {
  /** A descriptor that shows those ranges, in that order. The caller gives it to {@link close}. */
  open(ranges: readonly PhysRange[]): number;
  /** Ends a descriptor that {@link open} gave. */
  close(fd: number): void;
  /**
   * Does in the kernel what an exporter does: takes the memory of `fd` back, after importers of this process were told, or gives it back,
   * before they are. Its bytes must stay readable through the memory meanwhile.
   */
  setRevoked(fd: number, revoked: boolean): void;
}

/** A page that was handed out and never written: zeros, which take no memory. */
const UNTOUCHED = new Uint8Array(PAGE_SIZE);

/**
 * Sparse physical memory, page by page: what the reference exporter shares and the suites' devices read and write. A page takes memory once
 * it is written. Addresses and lengths are bytes.
 */
export class PhysicalMemory {
  /** Absent for memory of this process. */
  readonly descriptors: DescriptorSource | undefined = undefined;
  readonly #pages = new Map<number, Uint8Array>();
  #next: number;

  /**
   * Empty: pages come with {@link allocate}.
   *
   * @param base - address of the first page handed out. Below 4 GiB is left free, as for large BARs.
   */
  constructor(base = 0x40_0000_0000n) {
    this.#next = toPfn(base);
  }

  /** Fresh zeroed pages for `length` bytes; a page that nobody owns follows, so that an overrun is seen. */
  allocate(length: bigint): PhysRange {
    const pages = toPfn(length + PAGE_BYTES - 1n);
    const first = this.#next;
    this.#next += pages + 1;
    for (let i = 0; i < pages; i++) this.#pages.set(first + i, UNTOUCHED);
    return { start: physAddr(fromPfn(first)), length };
  }

  /** Bytes of memory pages that were handed out. */
  get size(): number {
    return this.#pages.size * PAGE_SIZE;
  }

  /** Writes up to the first byte that is not there. @returns how many bytes were written. */
  write(address: bigint, bytes: Uint8Array): number {
    return this.#walk(address, bytes.length, (page, pfn, at, done, count) => {
      this.#own(page, pfn).set(bytes.subarray(done, done + count), at);
    });
  }

  /** Reads up to the first byte that is not there. @returns how many bytes were read. */
  read(address: bigint, into: Uint8Array): number {
    return this.#walk(address, into.length, (page, _pfn, at, done, count) => {
      into.set(page.subarray(at, at + count), done);
    });
  }

  #own(page: Uint8Array, pfn: number): Uint8Array {
    if (page !== UNTOUCHED) return page;
    const own = new Uint8Array(PAGE_SIZE);
    this.#pages.set(pfn, own);
    return own;
  }

  #walk(
    address: bigint,
    length: number,
    visit: (page: Uint8Array, pfn: number, at: number, done: number, count: number) => void,
  ): number {
    let done = 0;
    while (done < length) {
      const now = address + BigInt(done);
      const pfn = toPfn(now);
      const page = this.#pages.get(pfn);
      if (page === undefined) break;
      const at = Number(now & (PAGE_BYTES - 1n));
      const count = Math.min(PAGE_SIZE - at, length - done);
      visit(page, pfn, at, done, count);
      done += count;
    }
    return done;
  }
}
