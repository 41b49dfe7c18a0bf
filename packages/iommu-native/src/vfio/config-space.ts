import { DmaBufError, type PciPowerState } from "@peerbar/core";
import { vfio } from "@peerbar/linux";
import { type ConfigReader, findCapability, pciRegs as reg } from "@peerbar/p2pdma";
import { readRegion, regionInfo, type VfioRegion, writeRegion } from "./regions.js";

const D3HOT = 3;

/** Widths of one access. */
export type ConfigAccess = 1 | 2 | 4;

/** Configuration space of an opened device, as vfio-pci virtualises it. */
export class ConfigSpace implements ConfigReader {
  readonly #fd: number;
  readonly #region: VfioRegion;
  readonly #isVirtual: boolean;
  /** Where the capabilities begin that power and reset are in. */
  readonly #pm: number | undefined;
  readonly #express: number | undefined;
  readonly #advancedFeatures: number | undefined;

  constructor(fd: number, isVirtual: boolean) {
    this.#fd = fd;
    this.#region = regionInfo(fd, vfio.VFIO_PCI_CONFIG_REGION_INDEX);
    this.#isVirtual = isVirtual;
    this.#pm = this.#find(reg.PCI_CAP_ID_PM);
    this.#express = this.#find(reg.PCI_CAP_ID_EXP);
    this.#advancedFeatures = this.#find(reg.PCI_CAP_ID_AF);
  }

  /** @throws DmaBufError EINVAL for another width, or outside configuration space. */
  read(offset: number, size: ConfigAccess): number {
    assertAccess(offset, size);
    const bytes = new Uint8Array(size);
    readRegion(this.#fd, this.#region, BigInt(offset), bytes);
    return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
  }

  /** Sleeps in the kernel where it revokes: {@link revokes} tells. @throws DmaBufError as {@link read}. */
  write(offset: number, size: ConfigAccess, value: number): void {
    assertAccess(offset, size);
    const bytes = Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) & 0xff);
    writeRegion(this.#fd, this.#region, BigInt(offset), bytes);
  }

  /** Whether the BARs answer, as vfio-pci sees it (vfio-pci-dmabuf R22). */
  get memoryEnabled(): boolean {
    if (this.powerState >= D3HOT) return false;
    return this.#isVirtual || (this.read(reg.PCI_COMMAND, 2) & reg.PCI_COMMAND_MEMORY) !== 0;
  }

  get powerState(): PciPowerState {
    if (this.#pm === undefined) return 0;
    return (this.read(this.#pm + reg.PCI_PM_CTRL, 2) & reg.PCI_PM_CTRL_STATE_MASK) as PciPowerState;
  }

  /** Sets or clears bits of the command register. */
  setCommand(change: { readonly memory?: boolean; readonly master?: boolean }): void {
    let command = this.read(reg.PCI_COMMAND, 2);
    const bits = [
      [reg.PCI_COMMAND_MEMORY, change.memory],
      [reg.PCI_COMMAND_MASTER, change.master],
    ] as const;
    for (const [bit, on] of bits) {
      if (on !== undefined) command = on ? command | bit : command & ~bit;
    }
    this.write(reg.PCI_COMMAND, 2, command);
  }

  /**
   * Whether a write takes memory away, as vfio-pci decides it: the command register without memory, D3hot, a function-level reset
   * (vfio-pci-dmabuf, triggers, R23).
   */
  revokes(offset: number, size: ConfigAccess, value: number): boolean {
    if (offset === reg.PCI_COMMAND) return (value & reg.PCI_COMMAND_MEMORY) === 0;
    const written = (capability: number | undefined, register: number): number | undefined => {
      if (capability === undefined) return undefined;
      const at = capability + register - offset;
      return at >= 0 && at < size ? Math.floor(value / 256 ** at) : undefined;
    };
    const power = written(this.#pm, reg.PCI_PM_CTRL);
    const deviceControl = written(this.#express, reg.PCI_EXP_DEVCTL + 1);
    const control = written(this.#advancedFeatures, reg.PCI_AF_CTRL);
    return (
      (power !== undefined && (power & reg.PCI_PM_CTRL_STATE_MASK) === D3HOT) ||
      (deviceControl !== undefined && (deviceControl & (reg.PCI_EXP_DEVCTL_BCR_FLR >> 8)) !== 0) ||
      (control !== undefined && (control & reg.PCI_AF_CTRL_FLR) !== 0)
    );
  }

  #find(id: number): number | undefined {
    const place = findCapability(this, id);
    return typeof place === "number" ? place : undefined;
  }
}

function assertAccess(offset: number, size: ConfigAccess): void {
  const whole = Number.isSafeInteger(offset) && offset >= 0 && offset + size <= 0x1000;
  if (whole && [1, 2, 4].includes(size) && offset % size === 0) return;
  throw new DmaBufError(
    "EINVAL",
    "vfio.config",
    `${String(size)} bytes at offset 0x${offset.toString(16)}`,
    { hint: "1, 2 or 4 bytes at a multiple of their size below 0x1000" },
  );
}
