import {
  busAddr,
  type DmaAddr,
  DmaBufError,
  type DmaDirection,
  type DmaMapper,
  hex,
  type IommuClient,
  type IovaState,
  iova,
  isDmaBufError,
  type PhysAddr,
  type PhysRange,
  ProtocolViolation,
} from "@peerbar/core";
import type { DefaultDomain } from "./default-domain.js";
import { ReservedIova } from "./iova-state.js";
import type { KernelLog } from "./kernel-log.js";
import { protOfDirection } from "./prot.js";

/** What the DMA API of one device has to know beside its domain. */
export interface DmaMapperOptions {
  readonly log: KernelLog;
  /** Misuse of the API does what it does in the kernel, instead of throwing: `quirks: "linux-7.2"`. */
  readonly kernelMisuse: boolean;
  /** What the IOMMU refuses is lost without an error: `MockIommuOptions.unreportedRefusals`. */
  readonly unreportedRefusals: boolean;
  /** `swiotlb=force`, some confidential guests: direct mapping of MMIO fails (dma-iova R2). */
  readonly forceBounce: boolean;
  /** Untrusted (external) device: links must be granule-aligned, EPERM otherwise. */
  readonly untrusted: boolean;
  /** Attaching to the domain was deferred (kdump) and fails. */
  readonly deferredAttachFails: boolean;
}

/** Bit of a state's size that marks bounced memory (dma-iova R1). */
const SWIOTLB_MARK = 1n << 63n;

/**
 * The DMA API of one device for MMIO: `dma_iova_*` and `dma_map_phys`, through its DMA domain or direct (spec dma-iova, sections 1 and 2).
 * With an untranslated device every address is the CPU physical one.
 */
export class MockDmaMapper implements DmaMapper {
  readonly #client: IommuClient;
  readonly #domain: () => DefaultDomain | undefined;
  readonly #options: DmaMapperOptions;
  readonly space: "bus" | "iova";

  /** @internal Made by `MockIommu.connect`. `domain` gives undefined for a device whose DMA is not translated. */
  constructor(
    client: IommuClient,
    space: "bus" | "iova",
    domain: () => DefaultDomain | undefined,
    options: DmaMapperOptions,
  ) {
    this.#client = client;
    this.space = space;
    this.#domain = domain;
    this.#options = options;
  }

  /**
   * `dma_iova_try_alloc`. `phys` is the address of the first range to be linked: its offset in the granule is kept (dma-iova R10).
   * Undefined where the DMA is direct, for size 0 or one with bit 63 (each warns once), and without room.
   */
  tryAllocIova(size: bigint, phys: bigint = 0n): IovaState | undefined {
    const domain = this.#domain();
    if (domain === undefined || this.#options.deferredAttachFails) return undefined;
    if (size <= 0n || (size & SWIOTLB_MARK) !== 0n || size >= 1n << 64n) {
      const site = size <= 0n ? "dma_iova_try_alloc: size 0" : "dma_iova_try_alloc: bit 63";
      this.#options.log.warnOnce(site, `size ${hex(size)}`, "dma-iova R1");
      return undefined;
    }
    const { granule, shift } = unit(domain);
    const pad = phys & (granule - 1n);
    const found = domain.allocIova(Number((size + pad + granule - 1n) >> shift));
    if (found === 0) return undefined;
    return new ReservedIova(iova((BigInt(found) << shift) | pad), size, this);
  }

  /**
   * `dma_iova_link`: maps `range` at `offset` of the reservation, start and end rounded out to granules (dma-iova R10).
   *
   * @throws DmaBufError EIO for an offset with a physical address that is not granule-aligned; EPERM for an unaligned range of an untrusted
   *   device; EADDRINUSE or EEXIST over another link (dma-iova R9); EINVAL where addresses disagree modulo the granule; ENOMEM.
   */
  link(state: IovaState, offset: bigint, range: PhysRange, direction: DmaDirection): void {
    const domain = this.#translating("dma.link");
    const prot = protOfDirection(direction);
    const own = this.#own(state, "dma.link");
    const { granule, shift, mask } = unit(domain);
    const pad = range.start & mask;
    if (offset > 0n && pad !== 0n) {
      this.#options.log.warnOnce("dma_iova_link", "offset into an unaligned range", "dma-iova R10");
      throw new DmaBufError(
        "EIO",
        "dma.link",
        `${hex(range.start)} is not a multiple of ${hex(granule)} bytes, at offset ${hex(offset)}`,
        {
          rule: "dma-iova R10",
          hint: "link the unaligned range first, at offset 0",
        },
      );
    }
    if (this.#options.untrusted && (pad !== 0n || ((range.start + range.length) & mask) !== 0n)) {
      throw new DmaBufError(
        "EPERM",
        "dma.link",
        `${this.#client.name} is untrusted and the range is not whole granules`,
        {
          hint: "MMIO cannot be bounced: share whole granules",
        },
      );
    }
    const address = state.address + offset;
    if ((address & mask) !== pad) {
      throw new DmaBufError(
        "EINVAL",
        "dma.link",
        `IOVA ${hex(address)} and physical ${hex(range.start)} differ below ${hex(granule)}`,
        {
          rule: "dma-iova R10",
        },
      );
    }
    const granules = Number((pad + range.length + mask) >> shift);
    if (own !== undefined && !this.#options.kernelMisuse) {
      const end = ((state.address & mask) + state.size + mask) >> shift;
      if (offset < 0n || (((state.address & mask) + offset) >> shift) + BigInt(granules) > end) {
        throw new ProtocolViolation(
          "dma-iova R11",
          "dma.link",
          `offset ${hex(offset)} and ${hex(range.length)} bytes exceed the reservation of ${hex(state.size)} bytes`,
        );
      }
    }
    this.#map(domain, Number(address >> shift), Number(range.start >> shift), granules, prot);
    if (own !== undefined) own.linked += granules;
  }

  #map(domain: DefaultDomain, first: number, frame: number, granules: number, prot: number): void {
    const { domain: io } = domain;
    try {
      io.map(first, frame, granules, prot);
    } catch (error) {
      const refused = isDmaBufError(error) && error.code === io.format.occupied;
      if (!refused || !this.#options.unreportedRefusals) throw error;
    }
  }

  /** `dma_iova_sync`: the domain's map calls are visible at once here, so there is nothing to wait for. */
  sync(state: IovaState, _offset: bigint, _length: bigint): void {
    this.#translating("dma.sync");
    this.#own(state, "dma.sync");
  }

  /** `dma_iova_unlink`: unmaps exactly what was linked and waits for the IOTLB, in lazy domains too (dma-iova R13). The IOVA stays. */
  unlink(state: IovaState, offset: bigint, length: bigint): void {
    const domain = this.#translating("dma.unlink");
    const own = this.#own(state, "dma.unlink");
    const { first, granules } = span(domain, state.address + offset, length);
    this.#assertMapped(domain, first, granules, "dma.unlink");
    const gone = domain.domain.unmap(first, granules);
    domain.domain.flush();
    this.#checkUnmapped(gone, granules);
    if (own !== undefined) own.linked -= gone;
  }

  /** `dma_iova_free`: gives the IOVA back at once, never through the flush queue. Nothing may be linked (dma-iova R8). */
  free(state: IovaState): void {
    const domain = this.#translating("dma.free");
    const own = this.#own(state, "dma.free");
    if (own !== undefined && own.linked > 0 && !this.#options.kernelMisuse) {
      throw new ProtocolViolation(
        "dma-iova R8",
        "dma.free",
        `${own.linked} granules are still linked`,
        {
          hint: "unlink them first, or destroy the state",
        },
      );
    }
    const { first, granules } = span(domain, state.address, state.size);
    domain.iovas.free(first, granules);
    if (own !== undefined) own.live = false;
  }

  /**
   * `dma_iova_destroy`: unlinks the `mapped` bytes from the start and gives the IOVA back, through the flush queue where there is one.
   * With 0 the same as {@link free}.
   */
  destroy(state: IovaState, mapped: bigint): void {
    if (mapped === 0n) {
      this.free(state);
      return;
    }
    const domain = this.#translating("dma.destroy");
    const own = this.#own(state, "dma.destroy");
    const { first, granules } = span(domain, state.address, mapped);
    this.#assertMapped(domain, first, granules, "dma.destroy");
    if (own !== undefined && own.linked !== granules && !this.#options.kernelMisuse) {
      throw new ProtocolViolation(
        "dma-iova R8",
        "dma.destroy",
        `${own.linked} granules are linked, not ${granules}`,
        {
          hint: "pass the sum of all linked lengths",
        },
      );
    }
    // The IOVA goes back by the mapped size: after a partial mapping it can land in a smaller class (dma-iova R20).
    const gone = domain.unmapAndFree(first, granules);
    this.#checkUnmapped(gone, granules);
    if (own !== undefined) {
      own.linked -= gone;
      own.live = false;
    }
  }

  mapPhys(range: PhysRange, direction: DmaDirection): DmaAddr {
    const prot = protOfDirection(direction);
    if (this.space === "bus") return this.#mapDirect(range);
    const domain = this.#domain();
    if (domain === undefined || this.#options.deferredAttachFails) {
      throw noMemory(range, "the device could not be attached to its domain");
    }
    const { shift, mask } = unit(domain);
    const pad = range.start & mask;
    if (this.#options.untrusted && (pad !== 0n || ((range.start + range.length) & mask) !== 0n)) {
      throw noMemory(range, "an untrusted device, and MMIO cannot be bounced");
    }
    const granules = Number((pad + range.length + mask) >> shift);
    if (!(granules > 0)) throw noMemory(range, "nothing to map");
    const found = domain.allocIova(granules);
    if (found === 0) throw noMemory(range, "no IOVA");
    try {
      domain.domain.map(found, Number(range.start >> shift), granules, prot);
    } catch (error) {
      domain.iovas.free(found, granules);
      throw noMemory(range, "the domain refused it", error);
    }
    return iova((BigInt(found) << shift) | pad);
  }

  /**
   * `dma_unmap_phys`: address and length as mapped. A shorter length is caught here; with the kernel's behaviour it frees the whole IOVA
   * while the tail stays mapped (dma-iova R32).
   */
  unmapPhys(address: DmaAddr, length: bigint, _direction: DmaDirection): void {
    if (this.space === "bus") return;
    const domain = this.#translating("dma.unmapPhys");
    const { first, granules } = span(domain, address, length);
    if (!this.#options.kernelMisuse) {
      this.#assertMapped(domain, first, granules, "dma.unmapPhys");
      const whole = domain.iovas.sizeOf(first);
      if (whole === 0 || granules > whole) {
        throw new ProtocolViolation(
          "dma-iova R32",
          "dma.unmapPhys",
          `${hex(address)} and ${hex(length)} bytes are not one mapping`,
        );
      }
      if (
        granules < whole &&
        domain.domain.inspect(
          (BigInt(first) + BigInt(granules)) << BigInt(domain.domain.format.pageShift),
        ) !== undefined
      ) {
        throw new ProtocolViolation(
          "dma-iova R32",
          "dma.unmapPhys",
          `${hex(length)} bytes are less than was mapped at ${hex(address)}`,
        );
      }
    }
    this.#checkUnmapped(domain.unmapAndFree(first, granules), granules);
  }

  /** dma-direct: the CPU physical address as it is, no dma_range_map, never bounced (dma-iova R2). */
  #mapDirect(range: PhysRange): DmaAddr {
    if (this.#options.forceBounce)
      throw noMemory(range, "bounce buffering is forced, and MMIO cannot be bounced");
    const last = range.start + range.length - 1n;
    if (last > this.#client.dmaMask) {
      this.#options.log.warnOnce(
        `dma_direct_map_phys ${this.#client.name}`,
        `${hex(last)} is beyond the DMA mask`,
        "dma-iova R2",
      );
      throw noMemory(range, `the device reaches ${hex(this.#client.dmaMask)} only`);
    }
    return busAddr(range.start);
  }

  #translating(syscall: string): DefaultDomain {
    const domain = this.#domain();
    if (domain !== undefined) return domain;
    throw new ProtocolViolation(
      "dma-iova R1",
      syscall,
      `${this.#client.name} has no DMA domain, so no IOVA was ever given out`,
    );
  }

  /** The state as this mapper made it; undefined where the kernel's behaviour is asked for and the state is not usable. */
  #own(state: IovaState, syscall: string): ReservedIova | undefined {
    if (state instanceof ReservedIova && state.owner === this && state.live) return state;
    if (this.#options.kernelMisuse) return undefined;
    const known = state instanceof ReservedIova && state.owner === this;
    throw new ProtocolViolation(
      "dma-iova R7",
      syscall,
      `the IOVA ${hex(state.address)} ${known ? "was given back before" : "is not of this device"}`,
      {
        hint: "after free or destroy a state must not be used again",
      },
    );
  }

  #assertMapped(domain: DefaultDomain, first: number, granules: number, syscall: string): void {
    if (this.#options.kernelMisuse || domain.domain.table?.covers(first, granules) === true) return;
    throw new ProtocolViolation(
      "dma-iova R8",
      syscall,
      `not exactly what is mapped: ${granules} granules from ${hex(first)}`,
    );
  }

  #checkUnmapped(gone: number, granules: number): void {
    if (gone === granules) return;
    this.#options.log.warnOnce(
      "__iommu_dma_unmap",
      `${gone} granules unmapped, not ${granules}`,
      "dma-iova R32",
    );
  }
}

function unit(domain: DefaultDomain): { granule: bigint; shift: bigint; mask: bigint } {
  const shift = BigInt(domain.domain.format.pageShift);
  return { granule: 1n << shift, shift, mask: (1n << shift) - 1n };
}

/** First granule and number of granules of a stretch of bytes. */
function span(
  domain: DefaultDomain,
  address: bigint,
  length: bigint,
): { first: number; granules: number } {
  const { shift, mask } = unit(domain);
  return {
    first: Number(address >> shift),
    granules: Number(((address & mask) + length + mask) >> shift),
  };
}

/** Every failure of a mapping is ENOMEM to the caller (dma-iova R3). */
function noMemory(
  range: { readonly start: PhysAddr; readonly length: bigint },
  why: string,
  cause?: unknown,
): DmaBufError {
  return new DmaBufError(
    "ENOMEM",
    "dma.mapPhys",
    `${hex(range.start)} + ${hex(range.length)} bytes: ${why}`,
    {
      rule: "dma-iova R3",
      cause,
    },
  );
}
