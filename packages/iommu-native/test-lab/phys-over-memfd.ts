import {
  type AddressSpace,
  DmaBufError,
  type DmaDevice,
  type DmaMapper,
  dispose,
  fromPfn,
  type IommuBackend,
  type IommuClient,
  type IommuPort,
  PAGE_BYTES,
  type PhysRange,
  physAddr,
  toPfn,
} from "@peerbar/core";
import { close, type Mapping, memfdCreate, mmap } from "@peerbar/linux";
import { NativeIommu } from "../src/index.js";
import { SelftestDevice } from "../src/selftest.js";

const BYTES = 16 * 1024 * 1024;
/** Where the file's first byte lies in the suite's physical addresses. */
const BASE = 0x40_0000_0000n;

/**
 * The kernel's address spaces for a suite that speaks of physical ranges: the ranges are parts of a memfd, and a device of the iommufd
 * selftest is asked where an IOVA leads. Nothing is answered here: every map, errno and translation is the kernel's.
 */
export class PhysOverMemfd implements Disposable {
  readonly native = new NativeIommu();
  readonly iommu: IommuBackend;
  readonly #fd = memfdCreate("peerbar-backend", BYTES);
  readonly #mapping: Mapping = mmap(this.#fd, { length: BYTES });
  readonly #devices = new Map<string, SelftestDevice>();
  /** Page numbers of the file that were handed out. */
  readonly #pages: number[] = [];
  #next = 0n;

  constructor() {
    this.iommu = {
      name: "linux, over memfd",
      accepts: ["phys"],
      allocAddressSpace: () => this.#wrap(this.native.allocAddressSpace()),
    };
  }

  memory(length: bigint): PhysRange {
    const start = this.#next;
    this.#next += length;
    if (this.#next > BYTES) throw new Error("the memfd is used up");
    for (let at = start; at < this.#next; at += PAGE_BYTES) this.#pages.push(toPfn(at));
    return { start: physAddr(BASE + start), length };
  }

  connect(client: IommuClient): IommuPort {
    const device = new SelftestDevice(this.native, client.name);
    this.#devices.set(client.name, device);
    return {
      name: client.name,
      dma: noMapper,
      translate: (pfn, _maxPages, _write, out) => {
        const iova = fromPfn(pfn);
        const page = this.#pages.find((one) => device.reaches(iova, this.#bytes(one)));
        if (page === undefined) return 0;
        out.pfn = page + toPfn(BASE);
        return 1;
      },
    };
  }

  [Symbol.dispose](): void {
    // A device leaves before the address spaces that it may still be attached to.
    for (const device of this.#devices.values()) device.close();
    this.native.close();
    this.#mapping.unmap();
    close(this.#fd);
  }

  #bytes(page: number): Uint8Array {
    return new Uint8Array(this.#mapping.buffer, page * Number(PAGE_BYTES), Number(PAGE_BYTES));
  }

  #device(device: DmaDevice): SelftestDevice {
    const found = this.#devices.get(device.name);
    if (found === undefined) throw new Error(`${device.name} was never connected`);
    return found;
  }

  /** The kernel's space, with ranges put in as parts of the file, and the suite's devices as the kernel's. */
  #wrap(space: AddressSpace): AddressSpace {
    const originals = this.#originals;
    const wrapped: AddressSpace = {
      get id() {
        return space.id;
      },
      get alignment() {
        return space.alignment;
      },
      get ranges() {
        return space.ranges;
      },
      get domains() {
        return space.domains;
      },
      allow: (ranges) => {
        space.allow(ranges);
      },
      allocDomain: (device) => space.allocDomain(this.#device(device)),
      freeDomain: (domain) => {
        space.freeDomain(domain);
      },
      attach: (device, domain) => space.attach(this.#device(device), domain),
      detach: (device) => {
        space.detach(this.#device(device));
      },
      map: (name, what, request) => {
        if (name !== "phys") return space.map(name, what, request);
        const [range, ...more] = what as readonly PhysRange[];
        if (range === undefined || more.length > 0) {
          throw new DmaBufError("EOPNOTSUPP", "phys over memfd", "one range a map");
        }
        const { offset, length } = request.slice;
        const slice = { offset: range.start - BASE + offset, length };
        return space.map("fd", this.#fd, { ...request, slice });
      },
      copy: (source, iova, length, request) =>
        space.copy(originals.get(source) ?? source, iova, length, request),
      unmap: (iova, length) => space.unmap(iova, length),
      unmapAll: () => space.unmapAll(),
      [dispose]: () => {
        space[dispose]();
      },
    };
    originals.set(wrapped, space);
    return wrapped;
  }

  readonly #originals = new WeakMap<AddressSpace, AddressSpace>();
}

const refuse = (): never => {
  throw new DmaBufError("EOPNOTSUPP", "dma", "a selftest device has no DMA API");
};

const noMapper: DmaMapper = {
  space: "iova",
  tryAllocIova: () => undefined,
  link: refuse,
  sync: refuse,
  unlink: refuse,
  free: refuse,
  destroy: refuse,
  mapPhys: refuse,
  unmapPhys: refuse,
};
