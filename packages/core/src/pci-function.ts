import type { BusAddr, PhysAddr, Slice } from "./address.js";
import type { DmaBuf } from "./dma-buf.js";
import type { DmaDevice } from "./dma-device.js";
import type { WaitOptions } from "./wait.js";

/** One base address register. */
export interface PciBar {
  /** Number of the BAR, 0 to 5. */
  readonly index: number;
  readonly kind: "memory" | "io";
  /** CPU physical address of its first byte (`pci_resource_start`). */
  readonly start: PhysAddr;
  /** The same byte as a peer on the bus addresses it; differs where the host bridge translates (p2pdma R3). */
  readonly busStart: BusAddr;
  /** Bytes. */
  readonly length: bigint;
}

/** PCI power states; 3 is D3hot, 4 D3cold. */
export type PciPowerState = 0 | 1 | 2 | 3 | 4;

/**
 * A PCI function as its host driver sees it. The simulated machine implements it. Nobody is told of changes from here: who drives the
 * function (vfio-pci) does the telling, before the hardware acts.
 */
export interface PciFunction extends DmaDevice {
  /** `0000:3b:00.0`. */
  readonly pciAddress: string;
  /** BARs 0 to 5. */
  readonly bars: readonly (PciBar | undefined)[];
  /** Virtual functions decode memory whatever their command register says (vfio-pci-dmabuf R22). */
  readonly isVirtual: boolean;
  readonly powerState: PciPowerState;
  /** Little-endian value of `size` bytes of config space; all ones where the function is gone. */
  readConfig(offset: number, size: 1 | 2 | 4): number;
  /** Writes `size` bytes of config space, little-endian. Takes effect at once. */
  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void;
  /** Function-level reset. Memory decode and bus mastering are restored as they were, as the PCI core does. */
  reset(): Promise<void>;
}

/** Which part of a BAR to share (`VFIO_DEVICE_FEATURE_DMA_BUF`). */
export interface ExportRequest {
  /** BAR number, 0 to 5. */
  readonly bar: number;
  /** Pages of the BAR, in the order the importer sees them; may repeat and overlap (vfio-pci-dmabuf R3). */
  readonly ranges: readonly Slice[];
  readonly name?: string | undefined;
}

/**
 * A device opened for sharing its BARs: vfio-pci on the mock, the vfio cdev on the kernel. Closing revokes every buffer for good;
 * the buffers themselves stay valid objects (vfio-pci-dmabuf R28).
 */
export interface BarExporter extends AsyncDisposable {
  readonly device: { readonly pciAddress: string };
  /** Waits for a reset in progress, hence a promise. Errors as vfio-pci-dmabuf V1 to V22. */
  exportDmaBuf(request: ExportRequest, options?: WaitOptions): Promise<DmaBuf>;
  /** Revokes, drains, resets, and makes the buffers mappable again where memory decodes (vfio-pci-dmabuf, triggers). */
  reset(options?: WaitOptions): Promise<void>;
  /** Revokes and drains every buffer for good, then lets go of the function. */
  close(options?: WaitOptions): Promise<void>;
}
