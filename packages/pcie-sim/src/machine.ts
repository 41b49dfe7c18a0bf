import {
  DmaBufError,
  defaultScheduler,
  type EventSink,
  type Scheduler,
  type SoftIommu,
} from "@peerbar/core";
import type { HostBridgeInfo, PciFunctionInfo } from "@peerbar/p2pdma";
import { buildMachine } from "./build.js";
import type { Cpu } from "./cpu.js";
import type { HostBridgeForwarding } from "./fabric/fabric.js";
import type { HostMemory, RamRange } from "./host-memory.js";
import type { BarLengths, MachineNote, MachineTopology } from "./layout/layout.js";
import { functionsBelow, resetTogether } from "./reset-set.js";
import type { SimFunction } from "./sim-function.js";
import { type MachineState, restoreState, saveState } from "./state.js";

/** What a topology does not say of a machine. */
export interface MachineOptions {
  /** At the root complex; without one DMA is direct. */
  readonly iommu?: SoftIommu | undefined;
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
  /** For everything that is not decided by PCIe: 0 unless given. Same seed, same machine, same trace. */
  readonly seed?: number | undefined;
  /**
   * What host bridges do with requests that go down again to a device; a function decides by the host bridges of requester and target.
   * PCIe leaves it open. "forward" unless given.
   */
  readonly hostBridgeForwarding?:
    | HostBridgeForwarding
    | ((from: HostBridgeInfo, to: HostBridgeInfo) => HostBridgeForwarding)
    | undefined;
  /** Host memory by CPU physical address: 2 GiB below and 64 GiB above 4 GiB unless given. MMIO is cut out of it. */
  readonly ram?: readonly RamRange[] | undefined;
  /** Sizes of BARs that the topology does not show. */
  readonly barLengths?: BarLengths | undefined;
  /** Highest address a function can put on its wires: 2^64 - 1 unless given. */
  readonly dmaMask?: ((fn: PciFunctionInfo) => bigint) | undefined;
  /** Resets leave BAR contents as they were; else they are zero afterwards. */
  readonly keepBarMemory?: boolean | undefined;
  /** Bytes that an engine moves between two yields: 256 KiB unless given. */
  readonly dmaChunkBytes?: number | undefined;
}

/** A place in the machine whose bytes were written. */
export interface DirtyPages {
  /** Function address and BAR, `0000:3b:00.0 BAR 2`, or `ram`. */
  readonly where: string;
  /** Page numbers from the start of the BAR; page frame numbers for `ram`. */
  readonly pages: readonly number[];
}

/**
 * A simulated PCIe machine in which bytes really move. It obeys PCI Express and its IOMMU, and knows nothing of p2pdma: a wrong mapping
 * shows as wrong bytes or as a fault.
 *
 * @example
 * ```ts
 * import { generateServer } from "@peerbar/p2pdma";
 * import { Machine } from "@peerbar/pcie-sim";
 *
 * const machine = Machine.from(generateServer());
 * const nic = machine.function("0000:1d:00.0");
 * const gpu = machine.function("0000:1b:00.0");
 * const done = await nic.engine.write(gpu.bar(2).busStart, Uint8Array.of(1));
 * console.log(done.status, gpu.bar(2).peek(0, 1)); // => ok Uint8Array(1) [ 1 ]
 * ```
 */
export class Machine {
  readonly topology: MachineTopology;
  /** All functions in the order of the topology, bridges included. */
  readonly functions: readonly SimFunction[];
  readonly ram: HostMemory;
  readonly cpu: Cpu;
  /** Where the machine is not what the topology shows, or fills in what it does not show. */
  readonly notes: readonly MachineNote[];
  readonly #scheduler: Scheduler;

  private constructor(topology: MachineTopology, options: MachineOptions) {
    const scheduler = options.scheduler ?? defaultScheduler;
    const built = buildMachine(topology, { ...options, scheduler });
    this.#scheduler = scheduler;
    this.topology = topology;
    this.functions = built.functions;
    this.ram = built.ram;
    this.cpu = built.cpu;
    this.notes = built.notes;
  }

  /**
   * Builds the machine that a topology shows. Never fails for what a topology lacks: {@link notes} says what was filled in or left out.
   *
   * @throws DmaBufError EINVAL for options that make no sense.
   */
  static from(topology: MachineTopology, options: MachineOptions = {}): Machine {
    const chunk = options.dmaChunkBytes;
    if (chunk !== undefined && !(Number.isInteger(chunk) && chunk > 0)) {
      throw new DmaBufError("EINVAL", "machine.from", `dmaChunkBytes is ${String(chunk)}`);
    }
    return new Machine(topology, options);
  }

  /** @throws DmaBufError ENODEV where the topology has no such function. */
  function(address: string): SimFunction {
    const fn = this.functions[this.topology.indexOf(address)];
    if (fn !== undefined) return fn;
    throw new DmaBufError("ENODEV", "machine.function", `there is no function at ${address}`, {
      hint: "name a function by its full address, as in 0000:3b:00.0",
    });
  }

  /** The functions that {@link resetBus} of a bridge resets: all below it, in address order. */
  resetSet(bridge: string): readonly SimFunction[] {
    return functionsBelow(this.functions, this.#bridge(bridge, "machine.resetSet"));
  }

  /**
   * Secondary bus reset (hot reset of everything behind a bridge) as the PCI core does it: all functions below are saved, reset together
   * and restored. Give it to vfio-pci as `resetBus` of a hot reset.
   *
   * @throws DmaBufError ENODEV where there is no such function; ENOTTY where it is no bridge; EBUSY while one of the set is being reset.
   */
  async resetBus(bridge: string): Promise<void> {
    const fn = this.#bridge(bridge, "machine.resetBus");
    await resetTogether(functionsBelow(this.functions, fn), this.#scheduler, fn.name);
  }

  /**
   * Surprise removal of a device: all its functions with their virtual functions; behind a bridge everything. Configuration reads give
   * all ones from now on, nobody answers, memory contents are lost. Drivers are not told: that is the caller's part.
   *
   * @throws DmaBufError ENODEV where there is no such function, or it is gone already.
   */
  unplug(address: string): void {
    const fn = this.function(address);
    if (!fn.present)
      throw new DmaBufError("ENODEV", "machine.unplug", `${address} is gone already`);
    for (const part of this.#deviceOf(fn)) part.remove();
  }

  /**
   * Puts the device back, as new: decode and bus mastering are off, memory is zero, addresses are those it had.
   *
   * @throws DmaBufError ENODEV where there is no such function; EEXIST where it is there.
   */
  plug(address: string): void {
    const fn = this.function(address);
    if (fn.present) throw new DmaBufError("EEXIST", "machine.plug", `${address} is there`);
    for (const part of this.#deviceOf(fn)) part.insert();
  }

  /** Registers and memory as JSON; see {@link MachineState} for what is not in it. */
  save(): MachineState {
    return saveState(this.functions, this.ram);
  }

  /**
   * Takes over a saved state. @throws DmaBufError EINVAL where it does not fit this machine; nothing is changed then.
   */
  restore(state: MachineState): void {
    restoreState(state, this.functions, this.ram);
  }

  /** Every place written since the start or the last {@link clean}, by DMA, by the CPU or by poke. */
  dirty(): DirtyPages[] {
    const found: DirtyPages[] = [];
    const ram = this.ram.memory.dirtyPages();
    if (ram.length > 0) found.push({ where: "ram", pages: ram });
    for (const fn of this.functions) {
      for (const bar of fn.memoryBars) {
        const pages = bar.dirtyPages();
        if (pages.length > 0) {
          found.push({ where: `${fn.name} BAR ${String(bar.index)}`, pages });
        }
      }
    }
    return found;
  }

  /** Forgets which pages were written: {@link dirty} begins anew. */
  clean(): void {
    this.ram.memory.clean();
    for (const fn of this.functions) for (const bar of fn.memoryBars) bar.clean();
  }

  #bridge(address: string, operation: string): SimFunction {
    const fn = this.function(address);
    if (this.functions.some(({ info }) => this.functions[info.parent] === fn)) return fn;
    throw new DmaBufError("ENOTTY", operation, `there is no bus behind ${address}`, {
      hint: "name the bridge above the device",
    });
  }

  #deviceOf(fn: SimFunction): SimFunction[] {
    const slot = fn.name.slice(0, -2);
    const device = this.functions.filter(
      ({ name, info }) =>
        name.startsWith(slot) || this.functions[info.physfn]?.name.startsWith(slot),
    );
    const parts = new Set(device);
    for (const one of device)
      for (const part of functionsBelow(this.functions, one)) parts.add(part);
    return this.functions.filter((one) => parts.has(one));
  }
}
