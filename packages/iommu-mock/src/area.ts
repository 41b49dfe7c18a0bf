import {
  DmaBufError,
  hex,
  type InterconnectName,
  type Interconnects,
  type IommuMapping,
  type Iova,
  iova,
  type ObjectWatch,
  type PhysRange,
} from "@peerbar/core";
import { toPages } from "./address-checks.js";
import type { IoDomain } from "./io-domain.js";
import type { MockAddressSpace } from "./mock-address-space.js";

/** What the address spaces of this backend map. @throws DmaBufError EOPNOTSUPP for anything else. */
export function physOnly<N extends InterconnectName>(
  name: N,
  what: Interconnects[N],
): readonly PhysRange[] {
  if (name === "phys") return what as readonly PhysRange[];
  throw new DmaBufError(
    "EOPNOTSUPP",
    "iommu.map",
    `the interconnect "${name}" carries nothing that this IOMMU can map`,
    { hint: "it accepts [phys]" },
  );
}

/** The memory behind one or more areas (`struct iopt_pages`): copies share it, and it is revoked as a whole (iommufd R9). */
export class AreaPages {
  /** Pages, in the order of the ranges. */
  starts: readonly number[];
  lengths: readonly number[];
  readonly total: number;
  readonly writable: boolean;
  revoked = false;
  readonly areas: Area[] = [];
  /** Of every address space that ever had an area of it: there one can ask whether it is revoked. */
  readonly #watches = new Set<ObjectWatch>();

  constructor(ranges: readonly PhysRange[], writable: boolean) {
    this.starts = ranges.map((range) => toPages(range.start, "iommu.map"));
    this.lengths = ranges.map((range) => toPages(range.length, "iommu.map"));
    this.total = this.lengths.reduce((sum, length) => sum + length, 0);
    this.writable = writable;
  }

  /** One more area. */
  add(area: Area): void {
    this.areas.push(area);
    if (area.space.watch !== undefined) this.#watches.add(area.space.watch);
  }

  /** Takes every area out of every domain, once; the areas stay (iommufd R14, R16). */
  revoke(): void {
    for (const watch of this.#watches) watch.touch(true);
    if (this.revoked) return;
    this.revoked = true;
    for (const area of this.areas) area.space.unfill(area, true);
  }

  /** Fills every area again, or none. @throws DmaBufError EINVAL where the length is another, and what a domain refuses. */
  restore(ranges: readonly PhysRange[]): void {
    for (const watch of this.#watches) watch.touch(true);
    if (!this.revoked) return;
    const fresh = new AreaPages(ranges, this.writable);
    if (fresh.total !== this.total) {
      throw new DmaBufError("EINVAL", "iommu.restore", "the memory has another length than before");
    }
    this.starts = fresh.starts;
    this.lengths = fresh.lengths;
    const filled: Area[] = [];
    try {
      for (const area of this.areas) {
        area.space.fill(area);
        filled.push(area);
      }
    } catch (error) {
      for (const area of filled) area.space.unfill(area, true);
      throw error;
    }
    this.revoked = false;
  }
}

/** One stretch of IOVAs of an address space (`struct iopt_area`). */
export class Area implements IommuMapping {
  readonly space: MockAddressSpace;
  readonly pages: AreaPages;
  /** Where it begins in `pages`, in pages. */
  readonly offset: number;
  /** First IOVA and length, in pages. */
  readonly page: number;
  readonly count: number;
  /** PROT_ bits of its access, without the memory's attributes. */
  readonly prot: number;
  readonly iova: Iova;
  readonly length: bigint;
  /** The memory was first mapped by another area: a copy (known-bugs B59). */
  readonly copied: boolean;

  constructor(
    space: MockAddressSpace,
    pages: AreaPages,
    offset: number,
    at: {
      readonly page: number;
      readonly count: number;
      readonly iova: Iova;
      readonly length: bigint;
    },
    prot: number,
    copied: boolean,
  ) {
    this.space = space;
    this.pages = pages;
    this.offset = offset;
    this.page = at.page;
    this.count = at.count;
    this.iova = at.iova;
    this.length = at.length;
    this.prot = prot;
    this.copied = copied;
  }

  get revoked(): boolean {
    this.space.watch?.touch(false);
    return this.pages.revoked;
  }

  revoke(): void {
    this.pages.revoke();
  }

  restore<N extends InterconnectName>(name: N, what: Interconnects[N]): void {
    this.pages.restore(physOnly(name, what));
  }

  /** @internal Maps the area into one domain. @throws DmaBufError the domain's errno; nothing of it stays. */
  fill(domain: IoDomain, prot: number): void {
    const scale = 4096 / Number(domain.granule);
    let done = 0;
    let skip = this.offset;
    const { starts, lengths } = this.pages;
    try {
      for (let i = 0; done < this.count; i++) {
        const length = lengths[i] ?? 0;
        if (skip >= length) {
          skip -= length;
          continue;
        }
        const now = Math.min(length - skip, this.count - done);
        const from = (this.page + done) * scale;
        const phys = ((starts[i] ?? 0) + skip) * scale;
        const granules = now * scale;
        if (!Number.isInteger(from) || !Number.isInteger(phys) || !Number.isInteger(granules)) {
          throw new DmaBufError(
            "EINVAL",
            "iommu.map",
            `the memory at IOVA ${hex(this.iova)} is not whole granules of ${hex(domain.granule)} bytes`,
          );
        }
        domain.map(from, phys, granules, prot);
        done += now;
        skip = 0;
      }
    } catch (error) {
      if (done > 0) {
        domain.unmap(this.page * scale, done * scale);
        domain.flush();
      }
      throw error;
    }
  }
}

/** Several areas that one copy made. */
export class CopiedAreas implements IommuMapping {
  readonly iova: Iova;
  readonly length: bigint;
  readonly #areas: readonly Area[];

  constructor(areas: readonly Area[]) {
    this.#areas = areas;
    this.iova = areas[0]?.iova ?? iova(0n);
    this.length = areas.reduce((sum, area) => sum + area.length, 0n);
  }

  get revoked(): boolean {
    return this.#areas.some((area) => area.revoked);
  }

  revoke(): void {
    for (const area of this.#areas) area.revoke();
  }
}
