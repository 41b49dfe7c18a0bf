import {
  ADDRESS_LIMIT,
  type AddressSpace,
  type DmaAccess,
  DmaBufError,
  type DmaDevice,
  dispose,
  hex,
  type InterconnectName,
  type Interconnects,
  type IommuClient,
  type IommuDomain,
  type IommuMapping,
  type Iova,
  type IovaRange,
  iova,
  isPageAligned,
  type MapRequest,
  PAGE_BYTES,
  type PhysRange,
  type ReservedRegion,
  type Slice,
  toPfn,
} from "@peerbar/core";
import { IntervalSet } from "./interval-set.js";
import { bitsOfAccess, PageTable } from "./page-table.js";

const LAST = ADDRESS_LIMIT - 1n;

/** What an address space needs of a device's place at the IOMMU. */
interface Attachable {
  readonly client: IommuClient;
  use(table: PageTable | undefined): void;
}

/** Where each device is attached: an attach elsewhere takes it from there. */
const places = new WeakMap<Attachable, SimpleAddressSpace>();

/** An I/O address space of the reference backend: areas in order, and a page table for each domain. */
export class SimpleAddressSpace implements AddressSpace {
  readonly id: number;
  readonly alignment = PAGE_BYTES;
  readonly #portOf: (device: string) => Attachable | undefined;
  readonly #areas = new Map<Iova, SimpleArea>();
  readonly #occupied = new IntervalSet();
  readonly #reserved = new IntervalSet();
  #domains: SimpleDomain[] = [];
  #made = 0;
  #allowed: readonly IovaRange[] | undefined;

  /** @param portOf - finds a device behind the IOMMU by name; undefined: {@link attach} gives ENODEV */
  constructor(id: number, portOf: (device: string) => Attachable | undefined) {
    this.id = id;
    this.#portOf = portOf;
  }

  get ranges(): readonly IovaRange[] {
    return this.#reserved
      .holes(LAST)
      .map(({ first, last }) => ({ first: iova(first), last: iova(last) }));
  }

  get domains(): readonly SimpleDomain[] {
    return this.#domains;
  }

  allow(ranges: readonly IovaRange[]): void {
    for (const { first, last } of ranges) {
      if (this.#reserved.overlaps(first, last - first + 1n)) {
        throw new DmaBufError("EADDRINUSE", "ioas.allow", `${hex(first)} is reserved`);
      }
    }
    this.#allowed = ranges;
  }

  allocDomain(_device: DmaDevice): SimpleDomain {
    return this.#makeDomain(false);
  }

  freeDomain(domain: IommuDomain): void {
    const found = this.#domains.find((one) => one === domain);
    if (found === undefined) {
      throw new DmaBufError("ENOENT", "ioas.freeDomain", `no domain ${String(domain.id)} here`);
    }
    if (found.ports.size > 0) {
      throw new DmaBufError("EBUSY", "ioas.freeDomain", `${found.devices.join(", ")} use it`);
    }
    this.#domains = this.#domains.filter((one) => one !== found);
  }

  attach(device: DmaDevice, domain?: IommuDomain): SimpleDomain {
    const port = this.#portOf(device.name);
    if (port === undefined) {
      throw new DmaBufError("ENODEV", "ioas.attach", `${device.name} is not behind this IOMMU`);
    }
    this.#reserve(port.client.reserved);
    const target =
      this.#domains.find((one) => (domain === undefined ? one.automatic : one === domain)) ??
      this.#makeDomain(true);
    if (target.ports.has(device.name)) return target;
    places.get(port)?.detach(device);
    places.set(port, this);
    target.ports.set(device.name, port);
    port.use(target.table);
    return target;
  }

  detach(device: DmaDevice): void {
    for (const domain of this.#domains) {
      domain.ports.get(device.name)?.use(undefined);
      if (!domain.ports.delete(device.name)) continue;
      if (domain.automatic && domain.ports.size === 0) this.freeDomain(domain);
    }
  }

  map<N extends InterconnectName>(
    name: N,
    what: Interconnects[N],
    request: MapRequest,
  ): SimpleArea {
    return this.#add(part(physOnly(name, what), request.slice), request);
  }

  copy(
    source: AddressSpace,
    sourceIova: Iova,
    length: bigint,
    request: { readonly iova?: Iova | undefined; readonly access: DmaAccess },
  ): SimpleArea {
    const area = source instanceof SimpleAddressSpace ? source.#areas.get(sourceIova) : undefined;
    if (area?.length !== length) {
      throw new DmaBufError("ENOENT", "ioas.copy", `nothing of that length at ${hex(sourceIova)}`);
    }
    if (request.access.includes("w") && !area.writable) {
      throw new DmaBufError("EPERM", "ioas.copy", "the source was mapped for reading");
    }
    const copied = this.#add(area.pieces, { ...request, slice: area.slice });
    if (area.revoked) copied.revoke();
    return copied;
  }

  unmap(first: Iova, length: bigint): bigint {
    if (length === 0n) throw new DmaBufError("EINVAL", "ioas.unmap", "length 0");
    const inside = [...this.#areas.values()].filter(
      (area) => area.iova >= first && area.iova + area.length <= first + length,
    );
    const touched = [...this.#areas.values()].filter(
      (area) => area.iova < first + length && first < area.iova + area.length,
    );
    if (inside.length === 0 || touched.length !== inside.length) {
      throw new DmaBufError("ENOENT", "ioas.unmap", `no whole area at ${hex(first)}`);
    }
    return this.#drop(inside);
  }

  unmapAll(): bigint {
    return this.#drop([...this.#areas.values()]);
  }

  [dispose](): void {
    this.unmapAll();
    for (const domain of this.#domains)
      for (const port of domain.ports.values()) port.use(undefined);
    this.#domains = [];
  }

  #makeDomain(automatic: boolean): SimpleDomain {
    this.#made += 1;
    const domain = new SimpleDomain(this.#made, automatic);
    for (const area of this.#areas.values()) area.fill(domain.table);
    this.#domains.push(domain);
    return domain;
  }

  #add(pieces: readonly PhysRange[], request: MapRequest): SimpleArea {
    const place = this.#place(request);
    const area = new SimpleArea(place, pieces, request, () => this.#domains);
    for (const domain of this.#domains) area.fill(domain.table);
    this.#areas.set(place, area);
    this.#occupied.add(place, area.length);
    return area;
  }

  #place({ iova: fixed, slice: { length } }: MapRequest): Iova {
    if (fixed === undefined) return this.#choose(length);
    if (!isPageAligned(fixed)) throw invalid(`iova ${hex(fixed)} is not page aligned`);
    if (fixed + length > ADDRESS_LIMIT) {
      throw new DmaBufError("EOVERFLOW", "ioas.map", `iova ${hex(fixed)} + ${hex(length)} wraps`);
    }
    if (this.#reserved.overlaps(fixed, length)) throw invalid(`iova ${hex(fixed)} is reserved`);
    if (this.#occupied.overlaps(fixed, length)) {
      throw new DmaBufError("EEXIST", "ioas.map", `iova ${hex(fixed)} is occupied`);
    }
    return fixed;
  }

  /** First fit, lowest, never 0 (iommufd R6). */
  #choose(length: bigint): Iova {
    const free = new IntervalSet();
    for (const set of [this.#reserved, this.#occupied]) {
      for (const { first, last } of set.taken) free.add(first, last - first + 1n);
    }
    for (const { first, last } of this.#allowed ?? [{ first: 0n, last: LAST }]) {
      const from = first === 0n ? PAGE_BYTES : first;
      const place = free.lowest(length, PAGE_BYTES, from, last);
      if (place !== undefined) return iova(place);
    }
    throw new DmaBufError("ENOSPC", "ioas.map", `no room for ${hex(length)} bytes`);
  }

  #drop(areas: readonly SimpleArea[]): bigint {
    let bytes = 0n;
    for (const area of areas) {
      for (const domain of this.#domains) area.clear(domain.table);
      this.#areas.delete(area.iova);
      this.#occupied.remove(area.iova);
      bytes += area.length;
    }
    return bytes;
  }

  /** Relaxable regions are the owner's to use (iommufd R28). */
  #reserve(regions: readonly ReservedRegion[]): void {
    const ranges = regions.filter((region) => region.kind !== "direct-relaxable");
    for (const { first, last } of ranges) {
      if (this.#occupied.overlaps(first, last - first + 1n)) {
        throw new DmaBufError("EADDRINUSE", "ioas.attach", `${hex(first)} is mapped`);
      }
    }
    for (const { first, last } of ranges) {
      if (!this.#reserved.overlaps(first, last - first + 1n)) {
        this.#reserved.add(first, last - first + 1n);
      }
    }
  }
}

class SimpleDomain implements IommuDomain {
  readonly id: number;
  readonly table = new PageTable();
  readonly ports = new Map<string, Attachable>();
  /** Made by attach, so it ends with its last device. */
  readonly automatic: boolean;

  constructor(id: number, automatic: boolean) {
    this.id = id;
    this.automatic = automatic;
  }

  get devices(): readonly string[] {
    return [...this.ports.keys()];
  }
}

/** One mapped area: where, which memory, and whether that memory is still there. */
class SimpleArea implements IommuMapping {
  readonly iova: Iova;
  readonly length: bigint;
  pieces: readonly PhysRange[];
  /** Which part of the memory the pieces are. */
  readonly slice: Slice;
  readonly #access: DmaAccess;
  readonly #domains: () => readonly SimpleDomain[];
  #revoked = false;

  constructor(
    place: Iova,
    pieces: readonly PhysRange[],
    { slice, access }: MapRequest,
    domains: () => readonly SimpleDomain[],
  ) {
    this.iova = place;
    this.pieces = pieces;
    this.slice = slice;
    this.length = pieces.reduce((sum, piece) => sum + piece.length, 0n);
    this.#access = access;
    this.#domains = domains;
  }

  /** A copy may not write what its source may not (iommufd R24). */
  get writable(): boolean {
    return this.#access.includes("w");
  }

  get revoked(): boolean {
    return this.#revoked;
  }

  revoke(): void {
    if (this.#revoked) return;
    this.#revoked = true;
    for (const domain of this.#domains()) domain.table.unmap(toPfn(this.iova), toPfn(this.length));
  }

  restore<N extends InterconnectName>(name: N, what: Interconnects[N]): void {
    if (!this.#revoked) return;
    this.pieces = part(physOnly(name, what), this.slice);
    this.#revoked = false;
    for (const domain of this.#domains()) this.fill(domain.table);
  }

  fill(table: PageTable): void {
    if (this.#revoked) return;
    let at = toPfn(this.iova);
    for (const { start, length } of this.pieces) {
      table.map(at, toPfn(start), toPfn(length), bitsOfAccess(this.#access));
      at += toPfn(length);
    }
  }

  clear(table: PageTable): void {
    if (!this.#revoked) table.unmap(toPfn(this.iova), toPfn(this.length));
  }
}

function physOnly<N extends InterconnectName>(
  name: N,
  what: Interconnects[N],
): readonly PhysRange[] {
  if (name === "phys") return what as readonly PhysRange[];
  throw new DmaBufError("EOPNOTSUPP", "ioas.map", `accepts [phys], not ${name}`);
}

/** The ranges of `slice`, in order. */
function part(ranges: readonly PhysRange[], slice: Slice): readonly PhysRange[] {
  const { offset, length } = slice;
  if (length <= 0n || offset < 0n) throw invalid(`length ${hex(length)}`);
  if (!isPageAligned(offset) || !isPageAligned(length)) {
    throw invalid(`${hex(offset)}+${hex(length)} is not page aligned`);
  }
  const pieces: PhysRange[] = [];
  let skip = offset;
  let left = length;
  for (const range of ranges) {
    const from = lesser(skip, range.length);
    const now = lesser(range.length - from, left);
    if (now > 0n) {
      pieces.push({ start: (range.start + from) as PhysRange["start"], length: now });
    }
    skip -= from;
    left -= now;
  }
  if (left > 0n) throw invalid(`${hex(offset)}+${hex(length)} is past the end`);
  return pieces;
}

function invalid(reason: string): DmaBufError {
  return new DmaBufError("EINVAL", "ioas.map", reason);
}

function lesser(a: bigint, b: bigint): bigint {
  return a <= b ? a : b;
}
