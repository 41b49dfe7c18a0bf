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
import type { SimFunction } from "./sim-function.js";

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
  /** Bytes that an engine moves between two yields: 64 KiB unless given. */
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
 * const machine = Machine.from(topology, { iommu });
 * const nic = machine.function("0000:19:00.0");
 * const gpu = machine.function("0000:1b:00.0");
 * const done = await nic.engine.write(gpu.bar(2).busStart, bytes);
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

  private constructor(topology: MachineTopology, options: MachineOptions) {
    const built = buildMachine(topology, {
      ...options,
      scheduler: options.scheduler ?? defaultScheduler,
    });
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

  /** Every place written since the start or the last {@link clean}, by DMA, by the CPU or by poke. */
  dirty(): DirtyPages[] {
    const found: DirtyPages[] = [];
    const ram = this.ram.memory.dirtyPages();
    if (ram.length > 0) found.push({ where: "ram", pages: ram });
    for (const fn of this.functions) {
      for (const bar of fn.bars) {
        const pages = bar?.dirtyPages() ?? [];
        if (bar !== undefined && pages.length > 0) {
          found.push({ where: `${fn.name} BAR ${String(bar.index)}`, pages });
        }
      }
    }
    return found;
  }

  clean(): void {
    this.ram.memory.clean();
    for (const fn of this.functions) for (const bar of fn.bars) bar?.clean();
  }
}
