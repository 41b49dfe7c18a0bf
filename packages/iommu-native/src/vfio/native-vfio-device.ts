import {
  type Attachment,
  asyncDispose,
  type BarExporter,
  DmaBufError,
  defaultScheduler,
  type EventSink,
  type ExportRequest,
  type PciPowerState,
  type Scheduler,
  type Slice,
  type WaitOptions,
} from "@peerbar/core";
import { ioctlAsync, ioctlStruct, type Mapping, vfio } from "@peerbar/linux";
import { NativeDmaBuf } from "../buffers/native-dma-buf.js";
import { type Causes, explainedAsync } from "../explain.js";
import { BarWindows } from "./bar-windows.js";
import { type ConfigAccess, ConfigSpace } from "./config-space.js";
import { exportBar, probeDmaBufFeature } from "./dma-buf-feature.js";
import { assertInside, readRegion, regionInfo, type VfioRegion, writeRegion } from "./regions.js";
import { closedDevice, RevokeGate } from "./revoke-gate.js";

/** What an opened device is made of. */
export interface VfioDeviceParts {
  readonly pciAddress: string;
  /** Device file, owned by `close`. */
  readonly fd: number;
  readonly isVirtual: boolean;
  /** Closes the device file and what stands behind it; once. */
  readonly close: () => void;
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
}

/**
 * A PCI function opened through vfio: its regions, configuration space and reset, and the export of its BARs. Closing revokes every buffer
 * for good; the buffers stay valid (vfio-pci-dmabuf R28).
 */
export class NativeVfioDevice implements BarExporter {
  readonly device: { readonly pciAddress: string };
  readonly #config: ConfigSpace;
  readonly #parts: VfioDeviceParts;
  readonly #gate: RevokeGate;
  readonly #regions = new Map<number, VfioRegion>();
  readonly #windows = new BarWindows();
  #open = true;

  /** @internal Made by `NativeHost.open`. */
  constructor(parts: VfioDeviceParts) {
    this.#parts = parts;
    this.device = { pciAddress: parts.pciAddress };
    this.#config = new ConfigSpace(parts.fd, parts.isVirtual);
    this.#gate = new RevokeGate(
      parts.pciAddress,
      () => this.#open && this.#config.memoryEnabled,
      parts.scheduler ?? defaultScheduler,
    );
  }

  /** The device's file, for requests that are not here. Closed with the device. @throws DmaBufError EBADF after that. */
  get fd(): number {
    this.#assertOpen("vfio");
    return this.#parts.fd;
  }

  /** False once closed. */
  get isOpen(): boolean {
    return this.#open;
  }

  /** Buffers exported from here whose release has not run. */
  get live(): number {
    return this.#gate.size;
  }

  /**
   * `VFIO_DEVICE_FEATURE_DMA_BUF`. The caller owns the buffer.
   *
   * @throws DmaBufError as vfio-pci-dmabuf V1 to V22, with the kernel's errno; EBADF after close.
   */
  async exportDmaBuf(request: ExportRequest, options?: WaitOptions): Promise<NativeDmaBuf> {
    this.#assertOpen("VFIO_DEVICE_FEATURE");
    return this.#gate.exclusive(() => this.#export(request), options);
  }

  /**
   * Asks whether the kernel and the device's driver export BARs at all, and makes nothing (vfio-pci-dmabuf V7).
   *
   * @throws DmaBufError ENOTTY, EOPNOTSUPP where they do not; the hint says what is missing.
   */
  probeExport(): void {
    probeDmaBufFeature(this.fd);
  }

  /** A region by its number: BARs 0 to 5, ROM 6, configuration 7. @throws DmaBufError EINVAL for another. */
  region(index: number): VfioRegion {
    let region = this.#regions.get(index);
    if (region === undefined) {
      region = regionInfo(this.fd, index);
      this.#regions.set(index, region);
    }
    return region;
  }

  /** Bytes of a BAR. @throws DmaBufError EINVAL outside it; EIO while memory access is off. */
  readBar(bar: number, offset: bigint, into: Uint8Array): void {
    readRegion(this.fd, this.region(bar), offset, into);
  }

  /** @throws DmaBufError as {@link readBar}. */
  writeBar(bar: number, offset: bigint, bytes: Uint8Array): void {
    writeRegion(this.fd, this.region(bar), offset, bytes);
  }

  /**
   * A window of a BAR in this process; ends with {@link close}, or when this device's memory is switched off: an access would then kill
   * the process (vfio-pci-dmabuf R31).
   *
   * @throws DmaBufError EINVAL outside the BAR, or where it cannot be mapped.
   */
  mapBar(bar: number, slice?: Slice): Mapping {
    const region = this.region(bar);
    const { offset, length } = slice ?? { offset: 0n, length: region.size };
    assertInside(region, offset, Number(length), "mmap");
    const at = region.offset + offset;
    return this.#windows.open(this.fd, { offset: at, length: Number(length) });
  }

  /** Config space as vfio shows it, little-endian. */
  readConfig(offset: number, size: ConfigAccess): number {
    this.#assertOpen("pread64");
    return this.#config.read(offset, size);
  }

  /** Revokes first where the write takes memory away, and restores where it brings it back (vfio-pci-dmabuf, triggers). */
  async writeConfig(
    offset: number,
    size: ConfigAccess,
    value: number,
    options?: WaitOptions,
  ): Promise<void> {
    const write = (): void => {
      this.#assertOpen("pwrite64");
      this.#config.write(offset, size, value);
    };
    this.#assertOpen("pwrite64");
    if (!this.#config.revokes(offset, size, value)) {
      await this.#gate.restoreAfter(write, options);
      return;
    }
    await this.#gate.revokeAround(() => {
      this.#windows.unmapAll();
      write();
    }, options);
  }

  /** The bare write: no importer of this process is told, whatever the kernel does. */
  writeConfigNow(offset: number, size: ConfigAccess, value: number): void {
    this.#assertOpen("pwrite64");
    this.#config.write(offset, size, value);
  }

  /** As vfio-pci sees it: whether buffers can be mapped now (vfio-pci-dmabuf R22). */
  get memoryEnabled(): boolean {
    this.#assertOpen("pread64");
    return this.#config.memoryEnabled;
  }

  get powerState(): PciPowerState {
    this.#assertOpen("pread64");
    return this.#config.powerState;
  }

  /** Memory decode on or off: the bit of the command register that decides whether buffers can be mapped. */
  async setMemory(enabled: boolean, options?: WaitOptions): Promise<void> {
    const command = this.readConfig(4, 2);
    await this.writeConfig(4, 2, enabled ? command | 2 : command & ~2, options);
  }

  /** Whether the device may issue requests of its own (bus master bit). */
  setMaster(enabled: boolean): void {
    this.#assertOpen("pwrite64");
    this.#config.setCommand({ master: enabled });
  }

  /**
   * `VFIO_DEVICE_RESET`, off the main thread. The kernel revokes, resets, and lifts the revoke where memory decodes again.
   *
   * @throws DmaBufError EINVAL or ENOTTY for a device that cannot be reset alone.
   */
  async reset(options?: WaitOptions): Promise<void> {
    this.#assertOpen("VFIO_DEVICE_RESET");
    const { out } = ioctlStruct(this.fd, vfio.VFIO_DEVICE_GET_INFO);
    const call = async (): Promise<void> => {
      this.#assertOpen("VFIO_DEVICE_RESET");
      await explainedAsync(
        () => ioctlAsync(this.fd, vfio.VFIO_DEVICE_RESET),
        () => noReset(this.device.pciAddress),
      );
    };
    // Without a reset the kernel refuses before it revokes, so nobody is told either.
    const resets = (out.flags & vfio.VFIO_DEVICE_FLAGS_RESET) !== 0;
    await (resets ? this.#gate.revokeAround(call, options) : call());
  }

  /** Revokes for good, then closes. Closing twice is harmless. */
  async close(options?: WaitOptions): Promise<void> {
    if (!this.#open) return;
    await this.#gate.revokeAround(() => {
      this.closeNow();
    }, options);
  }

  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @internal For the end of the process, where nobody can be told any more. */
  closeNow(): void {
    if (!this.#open) return;
    this.#open = false;
    // A mapping holds the file as an open descriptor does.
    this.#windows.unmapAll();
    this.#parts.close();
  }

  #export(request: ExportRequest): NativeDmaBuf {
    this.#assertOpen("VFIO_DEVICE_FEATURE");
    const inside = request.bar >= 0 && request.bar < 6 && Number.isInteger(request.bar);
    const region = inside ? this.region(request.bar) : undefined;
    const buffer = NativeDmaBuf.adopt(exportBar(this.fd, request, region), {
      name: "vfio_pci_core",
      label: request.name,
      scheduler: this.#parts.scheduler,
      events: this.#parts.events,
      check: (attachment, operation) => {
        this.#check(attachment, operation);
      },
      onRelease: () => {
        this.#gate.remove(buffer);
      },
    });
    this.#gate.add(buffer);
    return buffer;
  }

  /** What the kernel says to its own importers, in its order (vfio-pci-dmabuf R10, R20). */
  #check(attachment: Attachment, operation: "attach" | "open"): void {
    const refuse = (code: "EOPNOTSUPP" | "ENODEV", reason: string, rule: string): never => {
      throw new DmaBufError(code, `dmabuf.${operation}`, reason, { rule });
    };
    const rule = operation === "attach" ? "vfio-pci-dmabuf R10" : "vfio-pci-dmabuf R20";
    if (operation === "attach" && !attachment.peer2peer) {
      refuse("EOPNOTSUPP", "the importer takes no peer-to-peer memory", rule);
    }
    if (!this.#open || this.#gate.revoked) {
      refuse("ENODEV", `memory of ${this.device.pciAddress} is not accessible`, rule);
    }
    if (operation === "attach" && !attachment.revocable) {
      refuse("EOPNOTSUPP", "the importer cannot be told to let go", rule);
    }
  }

  #assertOpen(syscall: string): void {
    if (!this.#open) throw closedDevice(syscall, this.device.pciAddress);
  }
}

function noReset(address: string): Causes {
  const cause = {
    reason: `${address} has no reset of its own`,
    hint: "a hot reset of its whole bus is left, with every function on it",
    rule: "vfio-pci-dmabuf, triggers",
  };
  return { EINVAL: cause, ENOTTY: cause };
}
