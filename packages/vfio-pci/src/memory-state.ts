import { DmaBufError, type PciFunction, type PciPowerState } from "@peerbar/core";
import { pciRegs as reg } from "@peerbar/p2pdma";
import { activeVfs, type Capabilities } from "./capabilities.js";

const D3HOT = 3;

/** Whether the BARs of an open function may be touched, and what decides it (vfio-pci-dmabuf R22). */
export class MemoryState {
  readonly #fn: PciFunction;
  readonly #capabilities: Capabilities;
  readonly #lowPowerHole: boolean;
  /** I/O and memory bits of the command register as the user wrote them. */
  #command: number;
  /** The user asked for low power and has not come back (vfio-pci-dmabuf R25). */
  lowPower = false;

  /** @param lowPowerHole - True for the kernel's hole (known-bugs B14). */
  constructor(fn: PciFunction, capabilities: Capabilities, lowPowerHole: boolean) {
    this.#fn = fn;
    this.#lowPowerHole = lowPowerHole;
    this.#capabilities = capabilities;
    this.#command = fn.readConfig(reg.PCI_COMMAND, 2);
  }

  /** What opening does first: D0, and memory decode where there is memory (`pci_enable_device`). */
  enable(): void {
    const fn = this.#fn;
    this.setPower(0);
    if (fn.bars.some((bar) => bar?.kind === "memory")) {
      fn.writeConfig(
        reg.PCI_COMMAND,
        2,
        fn.readConfig(reg.PCI_COMMAND, 2) | reg.PCI_COMMAND_MEMORY,
      );
    }
    this.#command = fn.readConfig(reg.PCI_COMMAND, 2);
  }

  /** What closing does last: no bus mastering any more (`vfio_pci_core_disable`, known-bugs B6). */
  disable(): void {
    const fn = this.#fn;
    fn.writeConfig(reg.PCI_COMMAND, 2, fn.readConfig(reg.PCI_COMMAND, 2) & ~reg.PCI_COMMAND_MASTER);
  }

  /**
   * Whether buffers may be used. The kernel looks at {@link decodes} alone, so that an export, or a command write, gives buffers back while
   * low power is engaged (vfio-pci-dmabuf R26, known-bugs B14); here they stay revoked until low power is left.
   */
  get enabled(): boolean {
    return this.decodes && (this.#lowPowerHole || !this.lowPower);
  }

  /** `__vfio_pci_memory_enabled`: power above D3hot, and the virtual memory bit; virtual functions have no such bit (R22). */
  get decodes(): boolean {
    if (this.#fn.powerState >= D3HOT) return false;
    return this.#fn.isVirtual || (this.#command & reg.PCI_COMMAND_MEMORY) !== 0;
  }

  /** The command register as the user sees it. */
  virtualCommand(physical: number): number {
    const bits = reg.PCI_COMMAND_IO | reg.PCI_COMMAND_MEMORY;
    return (physical & ~bits) | (this.#command & bits);
  }

  /** Takes over the I/O and memory bits of a write at offset 4 (R23). */
  noteCommand(value: number): void {
    this.#command = value & (reg.PCI_COMMAND_IO | reg.PCI_COMMAND_MEMORY);
  }

  /**
   * `vfio_pci_set_power_state`.
   *
   * @throws DmaBufError EBUSY for a physical function whose virtual functions are active (vfio-pci-dmabuf R24).
   */
  setPower(state: PciPowerState): void {
    const { pm } = this.#capabilities;
    if (pm === undefined) return;
    const fn = this.#fn;
    const vfs = activeVfs(fn, this.#capabilities);
    if (vfs > 0 && state > 0) {
      throw new DmaBufError(
        "EBUSY",
        "vfio.setPowerState",
        `${fn.pciAddress} has ${String(vfs)} active virtual functions`,
        { hint: "disable the virtual functions first", rule: "vfio-pci-dmabuf R24" },
      );
    }
    const control = fn.readConfig(pm + reg.PCI_PM_CTRL, 2);
    if ((control & reg.PCI_PM_CTRL_STATE_MASK) === state) return;
    fn.writeConfig(pm + reg.PCI_PM_CTRL, 2, (control & ~reg.PCI_PM_CTRL_STATE_MASK) | state);
  }
}
