import {
  ADDRESS_LIMIT,
  busAddr,
  type DmaAddr,
  DmaBufError,
  type DmaDirection,
  type DmaMapper,
  hex,
  type IovaState,
  type PhysRange,
  ProtocolViolation,
} from "@peerbar/core";

/** The DMA API without an IOMMU: dma-direct. CPU physical addresses go to the device unchanged (dma-iova R2). */
export class DirectMapper implements DmaMapper {
  readonly space = "bus";
  readonly #name: string;
  readonly #mask: bigint;

  /**
   * @param name - of the device, for errors
   * @param dmaMask - highest address that it can send; ranges above it are refused (dma-iova R2)
   */
  constructor(name: string, dmaMask: bigint) {
    this.#name = name;
    this.#mask = dmaMask;
  }

  tryAllocIova(_size: bigint): undefined {
    return undefined;
  }

  /** @throws DmaBufError ENOMEM where the device cannot reach the end of the range (dma-iova R2, R3). */
  mapPhys(range: PhysRange, _direction: DmaDirection): DmaAddr {
    const last = range.start + range.length - 1n;
    if (range.length <= 0n || last > this.#mask || last >= ADDRESS_LIMIT) {
      throw new DmaBufError(
        "ENOMEM",
        "dma.mapPhys",
        `${this.#name} reaches up to ${hex(this.#mask)}, not ${hex(last)}`,
        {
          hint: "put the device behind an IOMMU, or use one with a wider DMA mask",
          rule: "dma-iova R2",
        },
      );
    }
    return busAddr(range.start);
  }

  /** Nothing to undo: the address was the physical one (dma-iova R2). */
  unmapPhys(_address: DmaAddr, _length: bigint, _direction: DmaDirection): void {
    // Direct mappings have nothing to undo (dma-iova R2).
  }

  link(_state: IovaState, _offset: bigint, _range: PhysRange, _direction: DmaDirection): never {
    return this.#refuse("dma.link");
  }

  /** Never called: no IOVA was handed out (dma-iova R1). */
  sync(_state: IovaState, _offset: bigint, _length: bigint): never {
    return this.#refuse("dma.sync");
  }

  unlink(_state: IovaState, _offset: bigint, _length: bigint): never {
    return this.#refuse("dma.unlink");
  }

  free(_state: IovaState): never {
    return this.#refuse("dma.free");
  }

  destroy(_state: IovaState, _mapped: bigint): never {
    return this.#refuse("dma.destroy");
  }

  #refuse(operation: string): never {
    throw new ProtocolViolation(
      "dma-iova R8",
      operation,
      `${this.#name} has no IOMMU, so it was never given an IOVA`,
    );
  }
}
