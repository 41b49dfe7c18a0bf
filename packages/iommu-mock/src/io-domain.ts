import { DmaBufError, hex, PAGE_SHIFT } from "@peerbar/core";
import type { FaultReason } from "./fault-queue.js";
import type { PageTableFormat } from "./format.js";
import { IoPageTable, type Translation } from "./io-page-table.js";
import type { PageMemory } from "./page-memory.js";
import { PROT_READ, PROT_WRITE } from "./prot.js";

/** Kinds of domains, as the kernel's IOMMU_DOMAIN_ constants. */
export type DomainKind = "identity" | "blocked" | "dma" | "dma-fq" | "unmanaged";

/** Counters of one IOMMU, for tests and reports. */
export interface IommuStats {
  /** Map calls into domains that succeeded. */
  maps: number;
  /** Unmap calls into domains. */
  unmaps: number;
  /** Invalidations of the IOTLB that were waited for. */
  flushes: number;
  /** Virtual microseconds spent waiting for them. */
  flushWaitUs: number;
}

/** A page-aligned stretch of IOVAs, in bytes, both ends included. */
export interface Aperture {
  /** First IOVA, in bytes. */
  readonly first: bigint;
  /** Last IOVA, included, in bytes. */
  readonly last: bigint;
}

/** Translations that were unmapped but may still sit in the IOTLB (dma-iova R13). */
export interface StaleTranslations {
  /** As {@link IoPageTable.lookup}, for the PROT_ bit in `need`; 0 where nothing stale covers the granule. */
  lookup(iova: number, maxGranules: number, need: number, out: Translation): number;
}

/** What one translation table does for the devices attached to it. Pages here are 4 KiB, as everywhere outside of the page table. */
export class IoDomain {
  readonly kind: DomainKind;
  readonly format: PageTableFormat;
  readonly aperture: Aperture;
  /** Absent in identity and blocked domains. */
  readonly table: IoPageTable | undefined;
  readonly stats: IommuStats;
  /** Set by a flush queue. */
  stale: StaleTranslations | undefined;
  /** Pages of the table's format in one of 4 KiB. */
  readonly #ratio: number;
  readonly #memory: PageMemory;
  readonly #flushLatencyUs: number;
  readonly #found: Translation = { pfn: 0, prot: 0 };

  /** @throws DmaBufError ENOMEM where the top table cannot be had; EINVAL for an aperture that is not one. */
  constructor(
    kind: DomainKind,
    format: PageTableFormat,
    aperture: Aperture,
    memory: PageMemory,
    stats: IommuStats,
    flushLatencyUs: number,
  ) {
    this.kind = kind;
    this.format = format;
    this.aperture = aperture;
    this.stats = stats;
    this.#memory = memory;
    this.#flushLatencyUs = flushLatencyUs;
    this.#ratio = 2 ** (PAGE_SHIFT - format.pageShift);
    const translating = kind !== "identity" && kind !== "blocked";
    this.table = translating ? new IoPageTable(format, memory, aperture) : undefined;
  }

  /** Bytes in the smallest page. */
  get granule(): bigint {
    return 1n << BigInt(this.format.pageShift);
  }

  /**
   * `iommu_map`, in granules.
   *
   * @throws DmaBufError as {@link IoPageTable.map}; EINVAL in a domain that does not translate.
   */
  map(iova: number, phys: number, granules: number, prot: number): void {
    if (this.table === undefined) throw this.#fixed("iommu.map");
    this.#memory.injection.check("map", "iommu.map");
    this.table.map(iova, phys, granules, prot);
    this.stats.maps += 1;
  }

  /** `iommu_unmap`, in granules, without waiting for the IOTLB; returns how many went. */
  unmap(iova: number, granules: number): number {
    if (this.table === undefined) throw this.#fixed("iommu.unmap");
    this.stats.unmaps += 1;
    return this.table.unmap(iova, granules);
  }

  /** Waits until the IOTLB holds nothing that was unmapped. */
  flush(): void {
    this.stats.flushes += 1;
    this.stats.flushWaitUs += this.#flushLatencyUs;
  }

  /** As `IommuPort.translate`; 0 where the access is stopped. */
  translate(pfn: number, maxPages: number, write: boolean, out: { pfn: number }): number {
    const { table } = this;
    if (table === undefined) {
      if (this.kind === "blocked") return 0;
      out.pfn = pfn;
      return maxPages;
    }
    const need = write ? PROT_WRITE : PROT_READ;
    const found = this.#found;
    const ratio = this.#ratio;
    let run = table.lookup(pfn * ratio, maxPages * ratio, found);
    if (run === 0 || (found.prot & need) === 0) {
      run = this.stale?.lookup(pfn * ratio, maxPages * ratio, need, found) ?? 0;
    }
    if (ratio !== 1) return this.#wholePages(run, out);
    out.pfn = found.pfn;
    return run;
  }

  /** Why `translate` has just returned 0. */
  whyStopped(pfn: number): FaultReason {
    if (this.table === undefined) return "blocked";
    const ratio = this.#ratio;
    if (this.table.lookup(pfn * ratio, 1, this.#found) > 0) return "permission";
    const at = BigInt(pfn) << BigInt(PAGE_SHIFT);
    return at < this.aperture.first || at > this.aperture.last ? "out-of-aperture" : "not-present";
  }

  /** Physical address and PROT_ bits of an IOVA in bytes; undefined for a hole (`iommu_iova_to_phys`). */
  inspect(iova: bigint): { readonly phys: bigint; readonly prot: number } | undefined {
    if (this.table === undefined) {
      return this.kind === "identity" ? { phys: iova, prot: PROT_READ | PROT_WRITE } : undefined;
    }
    const shift = BigInt(this.format.pageShift);
    const found = { pfn: 0, prot: 0 };
    if (this.table.lookup(Number(iova >> shift), 1, found) === 0) return undefined;
    return {
      phys: (BigInt(found.pfn) << shift) | (iova & (this.granule - 1n)),
      prot: found.prot,
    };
  }

  destroy(): void {
    this.table?.destroy();
  }

  /** Where granules are smaller than pages: whole pages only, and a page frame cannot name one that starts in the middle of another. */
  #wholePages(run: number, out: { pfn: number }): number {
    const pfn = this.#found.pfn / this.#ratio;
    if (!Number.isInteger(pfn)) return 0;
    out.pfn = pfn;
    return Math.floor(run / this.#ratio);
  }

  #fixed(syscall: string): DmaBufError {
    return new DmaBufError("EINVAL", syscall, `a ${this.kind} domain has no page table`);
  }
}

/** Cuts an aperture down to what the format can express. @throws DmaBufError EINVAL where nothing is left or an end is not page-aligned. */
export function apertureOf(format: PageTableFormat, wanted?: Aperture): Aperture {
  const first = wanted?.first ?? format.firstIova;
  const last = wanted?.last ?? format.lastIova;
  const mask = (1n << BigInt(format.pageShift)) - 1n;
  if (
    first < format.firstIova ||
    last > format.lastIova ||
    first > last ||
    (first & mask) !== 0n ||
    ((last + 1n) & mask) !== 0n
  ) {
    throw new DmaBufError(
      "EINVAL",
      "iommu.create",
      `aperture ${hex(first)} to ${hex(last)} does not fit ${format.name}`,
      { hint: `within ${hex(format.firstIova)} to ${hex(format.lastIova)}, whole pages` },
    );
  }
  return { first, last };
}
