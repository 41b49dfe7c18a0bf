import {
  type AddressSpace,
  DmaBufError,
  type DmaDirection,
  type DmaMapper,
  type InterconnectName,
  type IommuClient,
  type IommuPort,
  type Iova,
  type IovaRange,
  type IovaState,
  iova,
  PAGE_BYTES,
  type PhysRange,
  type SoftIommu,
  toPfn,
} from "@peerbar/core";

/** What a page of a device's domain leads to, and what the device may do there. */
interface Entry {
  readonly pfn: number;
  readonly read: boolean;
  readonly write: boolean;
}

/** An IOMMU that translates: the DMA API fills a page table of each device's own. */
export class MyBackend implements SoftIommu {
  readonly name = "my-backend";
  /** What address spaces map: nothing yet. */
  readonly accepts: readonly InterconnectName[] = [];
  /** Accesses that were stopped. */
  faults = 0;

  connect(client: IommuClient): IommuPort {
    const table = new Map<number, Entry>();
    return {
      name: client.name,
      dma: new MyMapper(client, table),
      translate: (pfn, maxPages, write, out) => {
        let pages = 0;
        while (pages < maxPages) {
          const entry = table.get(pfn + pages);
          if (entry === undefined || !(write ? entry.write : entry.read)) break;
          if (pages === 0) out.pfn = entry.pfn;
          else if (entry.pfn !== out.pfn + pages) break;
          pages += 1;
        }
        if (pages === 0) this.faults += 1;
        return pages;
      },
    };
  }

  allocAddressSpace(): AddressSpace {
    throw new DmaBufError("EOPNOTSUPP", "iommu.allocAddressSpace", "only the DMA API yet");
  }
}

/** The DMA API of one device: reserves IOVAs, as high as fits below 4 GiB, and links memory there. */
class MyMapper implements DmaMapper {
  readonly space = "iova";
  readonly #table: Map<number, Entry>;
  readonly #limit: bigint;
  /** What may not be handed out: given away, or the platform's. From the top down. */
  #taken: IovaRange[];

  constructor(client: IommuClient, table: Map<number, Entry>) {
    this.#table = table;
    this.#limit = client.dmaMask < 0xffff_ffffn ? client.dmaMask : 0xffff_ffffn;
    this.#taken = [...client.reserved, ...(client.bridgeWindows ?? [])].sort(fromTheTop);
  }

  tryAllocIova(size: bigint): IovaState | undefined {
    if (size <= 0n) return undefined;
    let end = this.#limit + 1n; // of the hole that is looked at
    for (const { first, last } of [...this.#taken, { first: 0n, last: PAGE_BYTES - 1n }]) {
      const address = ((end - size) / PAGE_BYTES) * PAGE_BYTES;
      if (address > last) return this.#take(iova(address), size);
      if (first < end) end = first;
    }
    return undefined;
  }

  link(state: IovaState, offset: bigint, range: PhysRange, direction: DmaDirection): void {
    const at = toPfn(this.#ours(state, "dma.link") + offset);
    const pages = toPfn(range.length);
    for (let i = 0; i < pages; i++) {
      if (this.#table.has(at + i)) throw new DmaBufError("EADDRINUSE", "dma.link", "mapped");
    }
    const read = direction !== "from-device";
    const write = direction !== "to-device";
    const pfn = toPfn(range.start);
    for (let i = 0; i < pages; i++) this.#table.set(at + i, { pfn: pfn + i, read, write });
  }

  /** The device sees a change at once: there is no cache to wait for. */
  sync(): void {}

  unlink(state: IovaState, offset: bigint, length: bigint): void {
    const at = toPfn(this.#ours(state, "dma.unlink") + offset);
    for (let i = 0; i < toPfn(length); i++) this.#table.delete(at + i);
  }

  free(state: IovaState): void {
    const address = this.#ours(state, "dma.free");
    this.#taken = this.#taken.filter(({ first }) => first !== address);
  }

  destroy(state: IovaState, mapped: bigint): void {
    this.unlink(state, 0n, mapped);
    this.free(state);
  }

  mapPhys(range: PhysRange, direction: DmaDirection): Iova {
    const state = this.tryAllocIova(range.length);
    if (state === undefined) throw new DmaBufError("ENOMEM", "dma.mapPhys", "no IOVA is left");
    this.link(state, 0n, range, direction);
    return state.address;
  }

  unmapPhys(address: Iova, size: bigint): void {
    this.destroy({ address, size }, size);
  }

  #take(address: Iova, size: bigint): IovaState {
    this.#taken.push({ first: address, last: iova(address + size - 1n) });
    this.#taken.sort(fromTheTop);
    return { address, size };
  }

  /** @throws DmaBufError EINVAL for a reservation that was given back. */
  #ours({ address }: IovaState, operation: string): Iova {
    if (this.#taken.some(({ first }) => first === address)) return address;
    throw new DmaBufError("EINVAL", operation, "this IOVA was freed");
  }
}

function fromTheTop(a: IovaRange, b: IovaRange): number {
  return a.first > b.first ? -1 : 1;
}
