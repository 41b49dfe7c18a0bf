import {
  type DmaAddr,
  DmaBufError,
  type DmaDirection,
  type DmaMapper,
  type InterconnectName,
  type IommuClient,
  type IommuPort,
  type Iova,
  type IovaState,
  iova,
  PAGE_BYTES,
  type PhysRange,
  type SoftIommu,
  toPfn,
} from "@peerbar/core";
import { IntervalSet, powerOfTwo } from "./interval-set.js";
import { bitsOfDirection, PageTable } from "./page-table.js";
import { SimpleAddressSpace } from "./simple-address-space.js";

/** One access that the IOMMU stopped. */
export interface SimpleFault {
  readonly device: string;
  /** Page frame of the access: its DMA address in pages of 4 KiB. */
  readonly pfn: number;
  readonly write: boolean;
}

/**
 * The reference backend: a strict, translating software IOMMU with page tables as maps. Small on purpose: read it before writing
 * your own. `@peerbar/iommu-mock` is the one with modes, caches and speed.
 */
export class SimpleIommu implements SoftIommu {
  readonly name = "simple-iommu";
  readonly accepts: readonly InterconnectName[] = ["phys"];
  /** What was stopped, in order. */
  readonly faults: SimpleFault[] = [];
  readonly #ports = new Map<string, SimplePort>();
  #spaces = 0;

  connect(client: IommuClient): SimplePort {
    if (this.#ports.has(client.name)) {
      throw new DmaBufError("EEXIST", "iommu.connect", `${client.name} is connected already`);
    }
    const port = new SimplePort(client, this.faults);
    this.#ports.set(client.name, port);
    return port;
  }

  allocAddressSpace(): SimpleAddressSpace {
    this.#spaces += 1;
    return new SimpleAddressSpace(this.#spaces, (name) => this.#ports.get(name));
  }
}

/** One device behind a {@link SimpleIommu}. */
export class SimplePort implements IommuPort {
  readonly name: string;
  readonly client: IommuClient;
  readonly dma: SimpleMapper;
  readonly #faults: SimpleFault[];
  /** The domain of an address space; undefined: the device's own default domain. */
  #attached: PageTable | undefined;

  /** @param faults - where accesses that nothing maps are recorded; shared by all ports of one IOMMU */
  constructor(client: IommuClient, faults: SimpleFault[]) {
    this.name = client.name;
    this.client = client;
    this.dma = new SimpleMapper(client);
    this.#faults = faults;
  }

  /** From now on DMA is translated there; undefined: by the default domain again. */
  use(table: PageTable | undefined): void {
    this.#attached = table;
  }

  translate(pfn: number, maxPages: number, write: boolean, out: { pfn: number }): number {
    const pages = (this.#attached ?? this.dma.table).translate(pfn, maxPages, write, out);
    if (pages === 0) this.#faults.push({ device: this.name, pfn, write });
    return pages;
  }
}

/** The DMA API over one default domain (spec dma-iova): top-down, naturally aligned, below 4 GiB first. */
export class SimpleMapper implements DmaMapper {
  readonly space = "iova";
  readonly table = new PageTable();
  readonly #taken = new IntervalSet();
  readonly #limit: bigint;
  readonly #states = new Set<IovaState>();

  /** @param client - whose mask and reserved regions bound the IOVAs */
  constructor(client: IommuClient) {
    this.#limit = client.dmaMask;
    for (const { first, last } of [...client.reserved, ...(client.bridgeWindows ?? [])])
      this.#taken.add(first, last - first + 1n);
  }

  tryAllocIova(size: bigint): IovaState | undefined {
    const place = this.#place(size);
    if (place === undefined) return undefined;
    this.#taken.add(place, size);
    const state: IovaState = { address: place, size };
    this.#states.add(state);
    return state;
  }

  link(state: IovaState, offset: bigint, range: PhysRange, direction: DmaDirection): void {
    this.#assertOwned(state, "dma.link");
    const at = toPfn(state.address + offset);
    this.table.map(at, toPfn(range.start), toPfn(range.length), bitsOfDirection(direction));
  }

  /** Nothing to do: translations are seen at once. */
  sync(state: IovaState, _offset: bigint, _length: bigint): void {
    this.#assertOwned(state, "dma.sync");
  }

  unlink(state: IovaState, offset: bigint, length: bigint): void {
    this.#assertOwned(state, "dma.unlink");
    this.table.unmap(toPfn(state.address + offset), toPfn(length));
  }

  free(state: IovaState): void {
    this.#assertOwned(state, "dma.free");
    this.#states.delete(state);
    this.#taken.remove(state.address);
  }

  destroy(state: IovaState, mapped: bigint): void {
    this.unlink(state, 0n, mapped);
    this.free(state);
  }

  mapPhys(range: PhysRange, direction: DmaDirection): DmaAddr {
    const place = this.#place(range.length);
    if (place === undefined) throw new DmaBufError("ENOMEM", "dma.mapPhys", "no IOVA is left");
    this.#taken.add(place, range.length);
    const pages = toPfn(range.length);
    this.table.map(toPfn(place), toPfn(range.start), pages, bitsOfDirection(direction));
    return place;
  }

  unmapPhys(address: DmaAddr, length: bigint, _direction: DmaDirection): void {
    this.table.unmap(toPfn(address), toPfn(length));
    this.#taken.remove(address);
  }

  #place(size: bigint): Iova | undefined {
    if (size <= 0n || size >= 1n << 63n) return undefined;
    const alignment = powerOfTwo(size);
    const below4G = this.#limit < 0xffff_ffffn ? this.#limit : 0xffff_ffffn;
    const place =
      this.#taken.highest(size, alignment, PAGE_BYTES, below4G) ??
      this.#taken.highest(size, alignment, PAGE_BYTES, this.#limit);
    return place === undefined ? undefined : iova(place);
  }

  #assertOwned(state: IovaState, operation: string): void {
    if (!this.#states.has(state)) {
      throw new DmaBufError("EINVAL", operation, "this IOVA was freed", { rule: "dma-iova R7" });
    }
  }
}
