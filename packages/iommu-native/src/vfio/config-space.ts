import { DmaBufError, type PciPowerState } from "@peerbar/core";
import { vfio } from "@peerbar/linux";
import { readRegion, regionInfo, type VfioRegion, writeRegion } from "./regions.js";

/** Configuration registers used here (PCI Local Bus and PCI Express specifications). */
const PCI_COMMAND = 0x04;
const COMMAND_MEMORY = 0x2;
const COMMAND_MASTER = 0x4;
const PCI_STATUS = 0x06;
const STATUS_CAPABILITIES = 0x10;
const PCI_CAPABILITIES = 0x34;
const capabilityIds = { pm: 0x01, express: 0x10, advancedFeatures: 0x13 } as const;
const D3HOT = 3;

/** Widths of one access. */
export type ConfigAccess = 1 | 2 | 4;

/** Configuration space of an opened device, as vfio-pci virtualises it. */
export class ConfigSpace {
  readonly #fd: number;
  readonly #region: VfioRegion;
  readonly #isVirtual: boolean;
  readonly #capabilities: ReadonlyMap<number, number>;

  constructor(fd: number, isVirtual: boolean) {
    this.#fd = fd;
    this.#region = regionInfo(fd, vfio.VFIO_PCI_CONFIG_REGION_INDEX);
    this.#isVirtual = isVirtual;
    this.#capabilities = this.#walk();
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
    return this.#isVirtual || (this.read(PCI_COMMAND, 2) & COMMAND_MEMORY) !== 0;
  }

  get powerState(): PciPowerState {
    const pm = this.#capabilities.get(capabilityIds.pm);
    return pm === undefined ? 0 : ((this.read(pm + 4, 2) & 3) as PciPowerState);
  }

  /** Sets or clears bits of the command register. */
  setCommand(change: { readonly memory?: boolean; readonly master?: boolean }): void {
    let command = this.read(PCI_COMMAND, 2);
    const bits = [
      [COMMAND_MEMORY, change.memory],
      [COMMAND_MASTER, change.master],
    ] as const;
    for (const [bit, on] of bits) {
      if (on !== undefined) command = on ? command | bit : command & ~bit;
    }
    this.write(PCI_COMMAND, 2, command);
  }

  /**
   * Whether a write takes memory away, as vfio-pci decides it: the command register without memory, D3hot, a function-level reset
   * (vfio-pci-dmabuf, triggers, R23).
   */
  revokes(offset: number, size: ConfigAccess, value: number): boolean {
    if (offset === PCI_COMMAND) return (value & COMMAND_MEMORY) === 0;
    const { pm, express, advancedFeatures } = capabilityIds;
    const written = (capability: number, register: number): number | undefined => {
      const start = this.#capabilities.get(capability);
      if (start === undefined) return undefined;
      const at = start + register - offset;
      return at >= 0 && at < size ? Math.floor(value / 256 ** at) : undefined;
    };
    const power = written(pm, 4);
    const deviceControl = written(express, 9);
    const control = written(advancedFeatures, 4);
    return (
      (power !== undefined && (power & 3) === D3HOT) ||
      (deviceControl !== undefined && (deviceControl & 0x80) !== 0) ||
      (control !== undefined && (control & 1) !== 0)
    );
  }

  /** Capability numbers to offsets. The list is at most 48 entries of 4 bytes, so a cycle ends. */
  #walk(): ReadonlyMap<number, number> {
    const found = new Map<number, number>();
    if ((this.read(PCI_STATUS, 2) & STATUS_CAPABILITIES) === 0) return found;
    let at = this.read(PCI_CAPABILITIES, 1) & 0xfc;
    for (let i = 0; i < 48 && at >= 0x40; i++) {
      const id = this.read(at, 1);
      if (!found.has(id)) found.set(id, at);
      at = this.read(at + 1, 1) & 0xfc;
    }
    return found;
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
