import type { DmaAddr, Iova, PhysRange } from "./address.js";

/** Who moves bytes, as the device sees it: `to-device` reads the buffer, `from-device` writes it. */
export type DmaDirection = "bidirectional" | "to-device" | "from-device";

/** True for one of the three directions data can move in; the kernel's DMA_NONE is none of them. */
export function isDmaDirection(value: unknown): value is DmaDirection {
  return value === "bidirectional" || value === "to-device" || value === "from-device";
}

/** One reserved stretch of IOVA space (`struct dma_iova_state`). */
export interface IovaState {
  /** First IOVA of the stretch, in bytes. */
  readonly address: Iova;
  /** Bytes asked for; the reservation itself may be larger. */
  readonly size: bigint;
}

/**
 * The DMA API of one device (spec dma-iova): what an exporter's map uses on behalf of the importing device. A backend implements it.
 * All mappings are of MMIO. Offsets and lengths are bytes.
 */
export interface DmaMapper {
  /** Undefined where no translating domain exists, or no space is left: the caller then maps range by range (dma-iova R1). */
  tryAllocIova(size: bigint): IovaState | undefined;
  /** @throws DmaBufError EADDRINUSE or EEXIST where the IOVA is mapped (dma-iova R9), ENOMEM; nothing of the failed call stays. */
  link(state: IovaState, offset: bigint, range: PhysRange, direction: DmaDirection): void;
  /** Makes `length` linked bytes at `offset` visible to the device: after the last link, before the first access (dma-iova R8). */
  sync(state: IovaState, offset: bigint, length: bigint): void;
  /** Unmaps and flushes; the IOVA stays reserved. */
  unlink(state: IovaState, offset: bigint, length: bigint): void;
  /** Gives back the IOVA; nothing may be linked. */
  free(state: IovaState): void;
  /** Unlinks `[0, mapped)` and gives the IOVA back; may be queued on a flush-queue domain (dma-iova R13). */
  destroy(state: IovaState, mapped: bigint): void;
  /** @throws DmaBufError ENOMEM for every failure (dma-iova R3). */
  mapPhys(range: PhysRange, direction: DmaDirection): DmaAddr;
  /** Undoes one {@link mapPhys}: the same address, length in bytes and direction (dma-iova R32). */
  unmapPhys(address: DmaAddr, length: bigint, direction: DmaDirection): void;
  /** "iova" where mapPhys returns IOVAs, "bus" where it is direct. */
  readonly space: "bus" | "iova";
}

/** How a transfer ended. Faults are reported to the device that asked, never thrown. */
export interface DmaCompletion {
  readonly status:
    | "ok"
    /**
     * Nobody claims the address (PCIe Unsupported Request). That is also how it looks where a function or a bridge on the way has memory
     * decode off, sleeps in D3, is being reset or is gone; and where the requester's bus mastering is off, so that nothing is sent.
     */
    | "unsupported-request"
    /** A port refused: an ACS violation (source validation, translation blocking, egress control), or the completer's own abort. */
    | "completer-abort"
    /** Stopped at the IOMMU; a fault was recorded there. */
    | "iommu-fault";
  /** Bytes moved before it ended. */
  readonly transferred: number;
  /** Address that failed; undefined for "ok". */
  readonly at: DmaAddr | undefined;
}

/** The bus-master side of a device: puts addresses on its wires. */
export interface DmaEngine {
  /** The device writes `bytes` to `address`. Resolves when it has ended, well or not; never rejects for what happens on the bus. */
  write(address: DmaAddr, bytes: Uint8Array): Promise<DmaCompletion>;
  /** The device reads `into.length` bytes from `address`. Ends as {@link write} does. */
  read(address: DmaAddr, into: Uint8Array): Promise<DmaCompletion>;
}

/** A device that imports buffers. */
export interface DmaDevice {
  /** Unique in its machine; the address for a PCI function. */
  readonly name: string;
  /** PCI address; undefined for devices that are not PCI, such as /dev/iommu (p2pdma R18). */
  readonly pciAddress: string | undefined;
  /** Highest address the device can put on its wires. */
  readonly dmaMask: bigint;
  /** Absent where a kernel maps (native), and for devices that never map. */
  readonly dma?: DmaMapper;
  /** Absent for devices that cannot master the bus. */
  readonly engine?: DmaEngine;
}
