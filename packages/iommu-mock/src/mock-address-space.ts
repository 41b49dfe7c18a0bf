import {
  type AddressSpace,
  type DmaAccess,
  DmaBufError,
  type DmaDevice,
  dispose,
  hex,
  type InterconnectName,
  type Interconnects,
  type IommuDomain,
  type IommuMapping,
  type Iova,
  type IovaRange,
  iova,
  type MapRequest,
  type ObjectWatch,
} from "@peerbar/core";
import {
  checkBelowMax,
  inUse,
  invalid,
  isExact,
  readOnly,
  subPage,
  toPages,
  toPagesAbout,
  ULONG_MAX,
} from "./address-checks.js";
import { AddressSpaceDomain } from "./address-space-domain.js";
import { Area, AreaPages, CopiedAreas, physOnly } from "./area.js";
import { AreaTable } from "./area-table.js";
import { IovaSet, SPACE_END } from "./iova-set.js";
import type { MockIommu } from "./mock-iommu.js";
import type { MockPort } from "./mock-port.js";
import { checkDomain, checkStart, covering, place } from "./placement.js";
import { PROT_CACHE, PROT_MMIO, protOfAccess } from "./prot.js";

/**
 * An I/O address space as iommufd has it: areas, the IOVAs they occupy, and the domains that carry all of them
 * (spec iommufd, sections 2, 3, 5 and 6). Memory is MMIO: IOMMU_MMIO set, IOMMU_CACHE clear, in every domain (iommufd R10).
 */
export class MockAddressSpace implements AddressSpace {
  readonly id: number;
  /** @internal Stands for the areas, the domains and their page tables. */
  readonly watch: ObjectWatch | undefined;
  readonly #iommu: MockIommu;
  readonly #set = new IovaSet();
  readonly #areas = new AreaTable();
  readonly #room = { set: this.#set, areas: this.#areas, alignPages: 0 };
  readonly #domains: AddressSpaceDomain[] = [];
  #disposed = false;

  /** @internal Made by `MockIommu.allocAddressSpace`. */
  constructor(id: number, iommu: MockIommu, watch: ObjectWatch | undefined) {
    this.id = id;
    this.watch = watch;
    this.#iommu = iommu;
    this.#updateAlignment();
  }

  get alignment(): bigint {
    this.watch?.touch(false);
    return BigInt(this.#room.alignPages * 4096);
  }

  get ranges(): readonly IovaRange[] {
    this.watch?.touch(false);
    return this.#set.ranges;
  }

  get domains(): readonly AddressSpaceDomain[] {
    this.watch?.touch(false);
    return [...this.#domains];
  }

  /** Areas in address order. */
  get areas(): readonly IommuMapping[] {
    this.watch?.touch(false);
    return [...this.#areas];
  }

  allow(ranges: readonly IovaRange[]): void {
    this.#assertLive("iommu.allow");
    this.#set.allow(ranges);
  }

  allocDomain(device: DmaDevice): AddressSpaceDomain {
    this.#assertLive("iommu.allocDomain");
    return this.#addDomain(this.#iommu.portOf(device.name, "iommu.allocDomain"), false);
  }

  freeDomain(domain: IommuDomain): void {
    this.watch?.touch(true);
    const own = this.#ownDomain(domain, "iommu.freeDomain");
    if (own.devices.length > 0) {
      throw new DmaBufError(
        "EBUSY",
        "iommu.freeDomain",
        `domain ${own.id} has devices: ${own.devices.join(", ")}`,
        {
          hint: "detach them first",
        },
      );
    }
    this.#dropDomain(own);
  }

  /**
   * A device that is attached elsewhere moves here; without `domain`, into an automatic one, also from a domain of this address space that
   * somebody allocated (iommufd R26). Its own reserved regions must be free of areas and of allowed ranges.
   *
   * @throws DmaBufError ENODEV for a device that is not behind this IOMMU; EADDRINUSE where its reserved regions or the new domain's
   *   aperture exclude an area; ENOENT for a domain of another address space; EINVAL for one of another kind of IOMMU unit (iommufd R26);
   *   ENOMEM. The device then stays where it was.
   */
  attach(device: DmaDevice, domain?: IommuDomain): AddressSpaceDomain {
    this.#assertLive("iommu.attach");
    const wanted = domain === undefined ? undefined : this.#ownDomain(domain, "iommu.attach");
    const port = this.#iommu.portOf(device.name, "iommu.attach");
    const before = port.attachment;
    if (before?.space === this) {
      const stays = wanted === undefined ? before.domain.automatic : before.domain === wanted;
      if (stays) return before.domain;
    }
    const moved = before?.space === this;
    if (!moved) this.#reserveRegions(port);
    let target: AddressSpaceDomain;
    try {
      if (wanted !== undefined) checkFits(port, wanted);
      target = wanted ?? this.#compatible(port) ?? this.#addDomain(port, true);
    } catch (error) {
      if (!moved) this.#set.release(port.name);
      throw error;
    }
    if (moved) this.#leave(port, before.domain);
    else before?.space.detach(device);
    target.add(port.name);
    port.moveTo({ space: this, domain: target });
    return target;
  }

  /** Puts the device back into its default domain. Does nothing for one that is not attached here. */
  detach(device: DmaDevice): void {
    this.watch?.touch(true);
    const port = this.#iommu.findPort(device.name);
    const at = port?.attachment;
    if (port === undefined || at?.space !== this) return;
    port.moveTo(undefined);
    this.#set.release(port.name);
    this.#leave(port, at.domain);
  }

  map<N extends InterconnectName>(
    name: N,
    what: Interconnects[N],
    request: MapRequest,
  ): IommuMapping {
    this.#assertLive("iommu.map");
    const ranges = physOnly(name, what);
    const { slice, access } = request;
    const prot = protOfAccess(access);
    if (prot === 0) throw invalid("neither readable nor writable");
    const pages = new AreaPages(ranges, access.includes("w"));
    const offset = toPages(slice.offset, "iommu.map");
    const count = toPages(slice.length, "iommu.map");
    if (slice.offset < 0n || offset + count > pages.total) {
      throw invalid(`bytes ${hex(slice.offset)} + ${hex(slice.length)} exceed the memory`);
    }
    const page = place(this.#room, request.iova, slice.length, count, slice.offset);
    return this.#insert(pages, offset, page, count, slice.length, prot, false);
  }

  /**
   * Shares the memory with the source: one revoke ends both (iommufd R9). A source of several adjacent areas gives as many here; the
   * mapping returned stands for all of them.
   */
  copy(
    source: AddressSpace,
    sourceIova: Iova,
    length: bigint,
    request: { readonly iova?: Iova | undefined; readonly access: DmaAccess },
  ): IommuMapping {
    this.#assertLive("iommu.copy");
    if (!(source instanceof MockAddressSpace)) throw invalid("the source is of another backend");
    const prot = protOfAccess(request.access);
    if (prot === 0) throw invalid("neither readable nor writable");
    checkBelowMax(sourceIova, length, "iommu.copy");
    source.watch?.touch(true);
    const parts = covering(source.#areas, sourceIova, length);
    const count = toPages(length, "iommu.copy");
    const start = parts[0] === undefined ? 0 : BigInt(parts[0].offset * 4096);
    const page = place(this.#room, request.iova, length, count, BigInt(start));
    // Area by area, all of them before the first domain is filled.
    for (const { area, offset } of parts) {
      if (request.access.includes("w") && !area.pages.writable) throw readOnly();
      checkStart(this.#room, offset);
    }
    const made: Area[] = [];
    let at = page;
    try {
      for (const { area, offset, pages } of parts) {
        made.push(this.#insert(area.pages, offset, at, pages, BigInt(pages * 4096), prot, true));
        at += pages;
      }
    } catch (error) {
      for (const area of made) this.#remove(area);
      throw error;
    }
    const only = made[0];
    return made.length === 1 && only !== undefined ? only : new CopiedAreas(made);
  }

  /**
   * @throws DmaBufError EOVERFLOW, EINVAL, ENOENT as iommufd R23. Areas that lie whole in front of a cut one are unmapped nevertheless.
   */
  unmap(iovaFirst: Iova, length: bigint): bigint {
    this.#assertLive("iommu.unmap");
    if (iovaFirst === 0n && length === ULONG_MAX) return this.unmapAll();
    checkBelowMax(iovaFirst, length, "iommu.unmap");
    if (length === 0n) throw new DmaBufError("EINVAL", "iommu.unmap", "length 0");
    return this.#unmapRange(
      toPagesAbout(iovaFirst),
      toPagesAbout(iovaFirst + length),
      iovaFirst,
      length,
    );
  }

  unmapAll(): bigint {
    this.watch?.touch(true);
    let total = 0n;
    for (const area of [...this.#areas]) {
      total += area.length;
      this.#remove(area);
    }
    return total;
  }

  [dispose](): void {
    this.watch?.touch(true);
    if (this.#disposed) return;
    this.unmapAll();
    for (const domain of [...this.#domains]) {
      for (const name of domain.devices) {
        const port = this.#iommu.findPort(name);
        port?.moveTo(undefined);
        domain.remove(name);
      }
      this.#dropDomain(domain);
    }
    this.#disposed = true;
    this.#iommu.forget(this);
  }

  /** @internal Takes an area out of every domain. */
  unfill(area: Area, revoked: boolean): void {
    this.watch?.touch(true);
    for (const domain of this.#domains) this.#unfillOne(area, domain, revoked);
  }

  #insert(
    pages: AreaPages,
    offset: number,
    page: number,
    count: number,
    length: bigint,
    prot: number,
    copied: boolean,
  ): Area {
    checkStart(this.#room, offset);
    // With a rounded end it would lie over its neighbours, or take no room at all.
    if (!isExact(page, count)) throw subPage(`the end of ${hex(length)} bytes`, "iommu.map");
    this.#iommu.injection.check("area", "iommu.map");
    const where = { page, count, iova: iova(BigInt(page * 4096)), length };
    const area = new Area(this, pages, offset, where, prot, copied);
    if (!pages.revoked) this.fill(area);
    this.#areas.add(area);
    pages.add(area);
    return area;
  }

  /** @internal Puts an area into every domain, or none. */
  fill(area: Area): void {
    let filled = 0;
    try {
      for (const domain of this.#domains) {
        this.#fillOne(area, domain, area.copied && area.pages.areas.length > 0);
        filled += 1;
      }
    } catch (error) {
      for (const domain of this.#domains.slice(0, filled)) this.#unfillOne(area, domain, false);
      throw error;
    }
  }

  /** @param rereads - The kernel would take the page frames from a domain that already has them (known-bugs B59). */
  #fillOne(area: Area, domain: AddressSpaceDomain, rereads: boolean): void {
    const attributes = rereads && this.#iommu.hasQuirk("linux-7.2") ? PROT_CACHE : PROT_MMIO;
    area.fill(domain.io, area.prot | attributes);
    this.#iommu.events?.emit({
      type: "iommu-map",
      space: this.id,
      domain: domain.id,
      iova: area.iova,
      length: area.length,
    });
  }

  #unfillOne(area: Area, domain: AddressSpaceDomain, revoked: boolean): void {
    const scale = 4096 / Number(domain.io.granule);
    domain.io.unmap(area.page * scale, area.count * scale);
    domain.io.flush();
    this.#iommu.events?.emit({
      type: "iommu-unmap",
      space: this.id,
      domain: domain.id,
      iova: area.iova,
      length: area.length,
      revoked,
    });
  }

  #remove(area: Area): void {
    // A revoked area has left every domain before (iommufd R18).
    if (!area.pages.revoked) this.unfill(area, false);
    this.#areas.remove(area);
    const { areas } = area.pages;
    areas.splice(areas.indexOf(area), 1);
  }

  #unmapRange(first: number, end: number, at: bigint, length: bigint): bigint {
    let total = 0n;
    let from = first;
    for (;;) {
      const area = this.#areas.from(from);
      if (area === undefined || area.page >= end) break;
      if (area.page < first || area.page + area.count > end) {
        throw new DmaBufError(
          "ENOENT",
          "iommu.unmap",
          `${hex(at)} + ${hex(length)} bytes cut the area at ${hex(area.iova)}, ${hex(area.length)} bytes`,
          {
            rule: "iommufd R23",
            hint: "areas are unmapped whole",
          },
        );
      }
      total += area.length;
      from = area.page + area.count;
      this.#remove(area);
    }
    if (total > 0n) return total;
    throw new DmaBufError(
      "ENOENT",
      "iommu.unmap",
      `nothing is mapped at ${hex(at)} + ${hex(length)} bytes`,
      {
        rule: "iommufd R23",
      },
    );
  }

  #compatible(port: MockPort): AddressSpaceDomain | undefined {
    return this.#domains.find((domain) => domain.automatic && port.fits(domain.io));
  }

  /** `iopt_table_add_domain` (iommufd R27). */
  #addDomain(port: MockPort, automatic: boolean): AddressSpaceDomain {
    this.#iommu.injection.check("domain", "iommu.attach");
    const io = port.newDomain();
    const domain = new AddressSpaceDomain(this.#iommu.nextId(), io, automatic);
    const filled: Area[] = [];
    try {
      checkDomain(this.#room, io);
      for (const area of this.#areas) {
        if (area.pages.revoked) continue;
        this.#fillOne(area, domain, this.#domains.length > 0);
        filled.push(area);
      }
    } catch (error) {
      for (const area of filled) this.#unfillOne(area, domain, false);
      io.destroy();
      throw error;
    }
    this.#set.reserve(0, toPages(io.aperture.first, "iommu.attach"), domain);
    this.#set.reserve(toPages(io.aperture.last + 1n, "iommu.attach"), SPACE_END, domain);
    this.#domains.push(domain);
    this.#updateAlignment();
    return domain;
  }

  #reserveRegions(port: MockPort): void {
    const regions = port.client.reserved
      .filter(({ kind }) => kind !== "direct-relaxable")
      .map(({ first, last }) => ({
        first: Math.floor(toPages(first & ~0xfffn, "iommu.attach")),
        end: toPages((last + 0x1000n) & ~0xfffn, "iommu.attach"),
      }));
    for (const { first, end } of regions) {
      if (this.#areas.meets(first, end)) {
        throw inUse(`an area meets a reserved region of ${port.name}`, "iommufd R28");
      }
      if (this.#set.isAllowed(first, end)) {
        throw inUse(`an allowed range meets a reserved region of ${port.name}`, "iommufd R5");
      }
    }
    for (const { first, end } of regions) this.#set.reserve(first, end, port.name);
  }

  #leave(port: MockPort, domain: AddressSpaceDomain): void {
    if (domain.remove(port.name) === 0 && domain.automatic) this.#dropDomain(domain);
  }

  /** Its page table goes as a whole; areas revoked before are not touched (iommufd R18). */
  #dropDomain(domain: AddressSpaceDomain): void {
    for (const area of this.#areas) {
      if (!area.pages.revoked) this.#unfillOne(area, domain, false);
    }
    domain.io.destroy();
    this.#domains.splice(this.#domains.indexOf(domain), 1);
    this.#set.release(domain);
    this.#updateAlignment();
  }

  #ownDomain(domain: IommuDomain, syscall: string): AddressSpaceDomain {
    const own = this.#domains.find((one) => one === domain);
    if (own !== undefined) return own;
    throw new DmaBufError(
      "ENOENT",
      syscall,
      `domain ${domain.id} is not of address space ${this.id}`,
    );
  }

  #updateAlignment(): void {
    // One byte while there is no domain (iommufd R4).
    this.#room.alignPages = Math.max(
      1 / 4096,
      ...this.#domains.map(({ io }) => Number(io.granule) / 4096),
    );
  }

  #assertLive(syscall: string): void {
    this.watch?.touch(true);
    if (this.#disposed) {
      throw new DmaBufError("EBADF", syscall, `address space ${this.id} was disposed of`);
    }
  }
}

/** What the IOMMU driver says of a domain that it cannot walk (iommufd R26). @throws DmaBufError EINVAL */
function checkFits(port: MockPort, { id, io }: AddressSpaceDomain): void {
  if (port.fits(io)) return;
  throw new DmaBufError(
    "EINVAL",
    "iommu.attach",
    `domain ${id} is ${io.format.name}, for another kind of IOMMU unit than that of ${port.name}`,
    { rule: "iommufd R26", hint: "allocate a domain for this device" },
  );
}
