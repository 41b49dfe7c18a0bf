import { type DmaAccess, DmaBufError, type DmaDirection } from "@peerbar/core";

/** Permission bits of a page. */
const READ = 1;
const WRITE = 2;

interface Entry {
  readonly pfn: number;
  readonly access: number;
}

/** One domain's translations, page by page: I/O page frame to physical page frame and permissions. */
export class PageTable {
  readonly #entries = new Map<number, Entry>();

  /** Pages mapped now. */
  get size(): number {
    return this.#entries.size;
  }

  /** @throws DmaBufError EADDRINUSE where a page is mapped; nothing of the call stays (dma-iova R9). */
  map(ioPfn: number, pfn: number, pages: number, access: number): void {
    for (let i = 0; i < pages; i++) {
      if (this.#entries.has(ioPfn + i)) {
        throw new DmaBufError(
          "EADDRINUSE",
          "iommu.map",
          `page 0x${(ioPfn + i).toString(16)} is mapped`,
          { rule: "dma-iova R9" },
        );
      }
    }
    for (let i = 0; i < pages; i++) this.#entries.set(ioPfn + i, { pfn: pfn + i, access });
  }

  unmap(ioPfn: number, pages: number): void {
    for (let i = 0; i < pages; i++) this.#entries.delete(ioPfn + i);
  }

  /** As {@link IommuPort.translate}, without the fault record. */
  translate(ioPfn: number, maxPages: number, write: boolean, out: { pfn: number }): number {
    const bit = write ? WRITE : READ;
    let pages = 0;
    while (pages < maxPages) {
      const entry = this.#entries.get(ioPfn + pages);
      if (entry === undefined || (entry.access & bit) === 0) break;
      if (pages === 0) out.pfn = entry.pfn;
      else if (entry.pfn !== out.pfn + pages) break;
      pages += 1;
    }
    return pages;
  }
}

/** Who reads and writes (dma-iova R6). */
export function bitsOfDirection(direction: DmaDirection): number {
  if (direction === "bidirectional") return READ | WRITE;
  return direction === "to-device" ? READ : WRITE;
}

export function bitsOfAccess(access: DmaAccess): number {
  return (access.includes("r") ? READ : 0) | (access.includes("w") ? WRITE : 0);
}
