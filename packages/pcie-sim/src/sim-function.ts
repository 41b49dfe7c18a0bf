import {
  DmaBufError,
  type DmaMapper,
  type EventSink,
  type ObjectWatch,
  type PciBar,
  type PciFunction,
  type PciPowerState,
  type Scheduler,
} from "@peerbar/core";
import { type PciFunctionInfo, pciRegs as reg } from "@peerbar/p2pdma";
import type { SimBar } from "./bar.js";
import { sriovOffset } from "./config/build-config.js";
import type { ConfigAccess, ConfigSpace } from "./config/config-space.js";
import { applyRegisters, holdsReset, powerBits, startsFlr, wake } from "./config/decode.js";
import type { SimDmaEngine } from "./dma-engine.js";
import type { FabricNode } from "./fabric/node.js";

/** What a function is made of. */
export interface FunctionParts {
  readonly info: PciFunctionInfo;
  readonly node: FabricNode;
  readonly config: ConfigSpace;
  readonly bars: readonly (PciBar | undefined)[];
  readonly dmaMask: bigint;
  readonly dma: DmaMapper;
  readonly engine: SimDmaEngine;
  readonly scheduler: Scheduler;
  /** Stands for the registers of all functions of the machine, for explorers. */
  readonly registers: ObjectWatch | undefined;
  readonly events: EventSink | undefined;
  /** BAR contents survive resets: memory with its own power, as on many GPUs. */
  readonly keepBarMemory: boolean;
  /** Secondary bus reset of a bridge: everything below. */
  readonly resetBelow: (node: FabricNode) => void;
  /** The physical function of a virtual one. */
  readonly physical: () => SimFunction | undefined;
  readonly virtual: () => readonly SimFunction[];
}

const D3HOT = 3;
const D3COLD = 4;

/**
 * One PCI function of a simulated machine, as its host driver sees it: configuration space, BARs, a DMA engine, reset. Every register
 * write acts at once on how the machine routes.
 */
export class SimFunction implements PciFunction {
  /** What the topology shows of it. */
  readonly info: PciFunctionInfo;
  readonly name: string;
  readonly pciAddress: string;
  /** By number, 0 to 5; I/O BARs are here for their address alone. */
  readonly bars: readonly (PciBar | undefined)[];
  /** The memory BARs, ascending. */
  readonly memoryBars: readonly SimBar[];
  readonly isVirtual: boolean;
  readonly dmaMask: bigint;
  /** The DMA API of the function: the IOMMU's, or direct (dma-iova R2). */
  readonly dma: DmaMapper;
  readonly engine: SimDmaEngine;
  /** What the machine waits with: device models wait with it too. */
  readonly scheduler: Scheduler;
  /** At most one device model: called when a reset or removal makes the device forget. */
  onReset: (() => void) | undefined;
  readonly #parts: FunctionParts;
  #present = true;
  /** While the PCI core resets it: the configuration space to restore. Tells one reset from the next, too. */
  #saved: Uint8Array | undefined;

  /** @internal Made by `Machine`. */
  constructor(parts: FunctionParts) {
    this.#parts = parts;
    this.info = parts.info;
    this.name = parts.info.address;
    this.pciAddress = parts.info.address;
    this.bars = parts.bars;
    this.memoryBars = parts.node.bars;
    this.isVirtual = parts.info.physfn >= 0;
    this.dmaMask = parts.dmaMask;
    this.dma = parts.dma;
    this.engine = parts.engine;
    this.scheduler = parts.scheduler;
    this.#refresh();
  }

  /** False once it was unplugged: it answers nothing, its configuration space reads all ones. */
  get present(): boolean {
    this.#parts.registers?.touch(false);
    return this.#present;
  }

  /** Between the begin and the end of a reset: it answers nothing. */
  get resetting(): boolean {
    this.#parts.registers?.touch(false);
    return this.#saved !== undefined;
  }

  get powerState(): PciPowerState {
    this.#parts.registers?.touch(false);
    if (!this.#present) return D3COLD;
    return powerBits(this.#parts.config);
  }

  /** Memory decode is on and the function can answer. */
  get decodesMemory(): boolean {
    this.#parts.registers?.touch(false);
    return this.#parts.node.decodes;
  }

  /** The BAR with that number. @throws DmaBufError ENODEV where the function has none. */
  bar(index: number): SimBar {
    const bar = this.memoryBars.find((one) => one.index === index);
    if (bar !== undefined) return bar;
    throw new DmaBufError(
      "ENODEV",
      "machine.bar",
      `${this.name} has no memory BAR ${String(index)}`,
      {
        hint: "the machine's notes say where a topology does not show the size of a BAR",
      },
    );
  }

  /** @throws DmaBufError EINVAL for an access that is no 1, 2 or 4 bytes at a multiple of its size below 0x1000. */
  readConfig(offset: number, size: ConfigAccess): number {
    this.#parts.registers?.touch(false);
    const value = this.#parts.config.read(offset, size);
    if (this.#present) return value;
    return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
  }

  /**
   * Acts at once: decode, bus mastering, power, ACS and windows change how the machine routes. A write of the FLR bit resets the function
   * as hardware does, all its registers included; {@link reset} is what the PCI core makes of it.
   *
   * @throws DmaBufError EINVAL as {@link readConfig}.
   */
  writeConfig(offset: number, size: ConfigAccess, value: number): void {
    this.#parts.registers?.touch(true);
    const { config, node } = this.#parts;
    if (!this.#present) {
      config.read(offset, size);
      return;
    }
    const inReset = holdsReset(config, node);
    config.write(offset, size, value);
    if (startsFlr(config, offset, size, value)) this.#flr();
    this.#refresh();
    if (!inReset && holdsReset(config, node)) this.#parts.resetBelow(node);
  }

  /**
   * Function-level reset as the PCI core does it: D0, state saved, reset, state restored, so that decode, bus mastering, BARs and ACS are
   * as before. BAR contents are zero afterwards, unless the machine keeps them. Not interruptible.
   *
   * @throws DmaBufError ENODEV where the function is gone; ENOTTY for bridges, which have no such reset; EBUSY during another one.
   */
  async reset(): Promise<void> {
    this.#assertResettable();
    const saved = this.wakeAndSave();
    this.beginReset(saved);
    try {
      await this.scheduler.yield({ kind: "latency", on: `${this.name} reset` });
    } finally {
      this.endReset(saved);
    }
  }

  /** @internal What the PCI core does before a reset: D0, then a copy of the configuration space. */
  wakeAndSave(): Uint8Array {
    this.#parts.registers?.touch(true);
    const { config } = this.#parts;
    wake(config);
    return this.saveConfig();
  }

  /** @internal Stops answering and loses its state; {@link endReset} with the same `saved` ends it. */
  beginReset(saved: Uint8Array): void {
    this.#parts.registers?.touch(true);
    this.#saved = saved;
    this.#tellReset("begin");
    this.#flr();
    this.#refresh();
  }

  /** @internal Restores what was saved. Does nothing where the device was taken away since: another one is not its to touch. */
  endReset(saved: Uint8Array): void {
    this.#parts.registers?.touch(true);
    if (this.#saved !== saved) return;
    this.#saved = undefined;
    this.#parts.config.bytes.set(saved);
    this.#refresh();
    this.#tellReset("end");
  }

  /** @internal Copy of the configuration space, for a reset or a saved machine. */
  saveConfig(): Uint8Array {
    this.#parts.registers?.touch(false);
    return this.#parts.config.bytes.slice();
  }

  /** @internal Takes over a saved configuration space. */
  restoreConfig(bytes: Uint8Array, present: boolean): void {
    this.#parts.registers?.touch(true);
    this.#saved = undefined;
    this.#parts.config.bytes.set(bytes);
    this.#present = present;
    this.#refresh();
  }

  /** @internal The bus above was reset: registers and memory are lost. Nobody restores them, but a reset that the PCI core is at. */
  busReset(): void {
    this.#parts.registers?.touch(true);
    if (!this.#present) return;
    this.#tellReset("begin");
    this.#flr();
    this.#refresh();
    this.#tellReset("end");
  }

  /** @internal Surprise removal. */
  remove(): void {
    this.#parts.registers?.touch(true);
    this.#present = false;
    if (this.#saved !== undefined) {
      // A reset is no more: what comes back is enumerated to the addresses from before it.
      this.#parts.config.bytes.set(this.#saved);
      this.#saved = undefined;
    }
    for (const bar of this.memoryBars) bar.memory.clear();
    this.onReset?.();
    this.#refresh();
    this.#parts.events?.emit({ type: "unplug", function: this.name });
  }

  /** @internal The same kind of device in the same slot, enumerated to the same addresses; decode and mastering are off. */
  insert(): void {
    this.#parts.registers?.touch(true);
    const { config } = this.#parts;
    this.#present = true;
    this.wakeAndSave();
    const off = ~(reg.PCI_COMMAND_MEMORY | reg.PCI_COMMAND_MASTER);
    if (!this.#parts.node.isBridge)
      config.set(reg.PCI_COMMAND, 2, config.get(reg.PCI_COMMAND, 2) & off);
    this.#refresh();
    this.#parts.events?.emit({ type: "plug", function: this.name });
  }

  #assertResettable(): void {
    this.#parts.registers?.touch(false);
    if (!this.#present) {
      throw new DmaBufError("ENODEV", "pci.reset", `${this.name} is unplugged`);
    }
    if (this.#parts.node.isBridge) {
      throw new DmaBufError(
        "ENOTTY",
        "pci.reset",
        `${this.name} is a bridge and has no function-level reset`,
        {
          hint: "reset the bus behind it: machine.resetBus()",
        },
      );
    }
    if (this.#saved !== undefined) {
      throw new DmaBufError("EBUSY", "pci.reset", `${this.name} is being reset`);
    }
  }

  #tellReset(phase: "begin" | "end"): void {
    this.#parts.events?.emit({ type: "function-reset", function: this.name, phase });
  }

  /** All registers to their defaults, BARs unassigned, memory lost. */
  #flr(): void {
    this.#parts.config.resetWritable();
    if (!this.#parts.keepBarMemory) for (const bar of this.memoryBars) bar.memory.clear();
    this.onReset?.();
  }

  /** Registers to routing. */
  #refresh(): void {
    const { config, node } = this.#parts;
    applyRegisters(config, node, {
      awake:
        this.#present && this.#saved === undefined && powerBits(config) < D3HOT && this.#isEnabled,
      isVirtual: this.isVirtual,
      hasBuses: this.info.busNumbers !== undefined,
    });
    for (const fn of this.#parts.virtual()) fn.#refresh();
  }

  /** A virtual function lives as long as its physical function says: enabled, with memory on (SR-IOV control). */
  get #isEnabled(): boolean {
    const physical = this.#parts.physical();
    if (physical === undefined) return true;
    const at = sriovOffset(physical.info);
    const control = physical.#parts.config.get(at + reg.PCI_SRIOV_CTRL, 2);
    const both = reg.PCI_SRIOV_CTRL_VFE | reg.PCI_SRIOV_CTRL_MSE;
    return physical.#present && physical.#saved === undefined && (control & both) === both;
  }
}
