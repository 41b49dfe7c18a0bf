import {
  busAddr,
  type IommuPort,
  type IovaRange,
  iova,
  type ObjectWatch,
  type PciBar,
  physAddr,
  type ReservedRegion,
  type Scheduler,
} from "@peerbar/core";
import { type PciFunctionInfo, routingId } from "@peerbar/p2pdma";
import { SimBar } from "./bar.js";
import { buildBuses } from "./build-buses.js";
import { buildConfig } from "./config/build-config.js";
import { Cpu } from "./cpu.js";
import { DirectMapper } from "./direct-mapper.js";
import { SimDmaEngine } from "./dma-engine.js";
import { Fabric, type HostBridgeForwarding } from "./fabric/fabric.js";
import type { Bus, FabricNode } from "./fabric/node.js";
import { resolvePortTypes } from "./fabric/port-types.js";
import { RangeTable, spanOf } from "./fabric/range-table.js";
import type { SystemRegion } from "./fabric/system-map.js";
import { HostMemory } from "./host-memory.js";
import { assignAddresses } from "./layout/assign.js";
import type { Layout, MachineNote, MachineTopology } from "./layout/layout.js";
import type { MachineOptions } from "./machine.js";
import { watchMemory } from "./memory-watch.js";
import { capabilityNotes } from "./notes.js";
import { SimFunction } from "./sim-function.js";

type BuildOptions = MachineOptions & { readonly scheduler: Scheduler };

export interface BuiltMachine {
  readonly functions: readonly SimFunction[];
  readonly ram: HostMemory;
  readonly cpu: Cpu;
  readonly notes: readonly MachineNote[];
}

const ALL_ADDRESSES = (1n << 64n) - 1n;
const DEFAULT_CHUNK = 0x4_0000;

/** What functions are made from. */
interface Parts {
  readonly topology: MachineTopology;
  readonly options: BuildOptions;
  readonly layout: Layout;
  /** Memory BARs, nodes: by the index of the function. */
  readonly bars: readonly (readonly SimBar[])[];
  readonly nodes: readonly FabricNode[];
  readonly fabric: Fabric;
  readonly registers: ObjectWatch | undefined;
}

/** Puts a machine together: addresses, buses, registers, memory, engines. */
export function buildMachine(topology: MachineTopology, options: BuildOptions): BuiltMachine {
  const layout = assignAddresses(topology, options.barLengths);
  const { types, guessed } = resolvePortTypes(topology.functions);
  const { scheduler } = options;
  const bars = layout.bars.map((placed, i) => {
    const name = topology.functions[i]?.address ?? "";
    return placed.map(
      (bar) => new SimBar(bar, watchMemory(scheduler, `${name} BAR ${String(bar.index)}`)),
    );
  });
  const { nodes, roots } = buildBuses(topology, types, bars);
  const ram = new HostMemory(options.ram, layout.apertures, scheduler);
  const map = new RangeTable<SystemRegion>([...ramRegions(ram), ...busRegions(layout, roots)]);
  const registers = scheduler.watch?.object("registers");
  const forwarding = forwardingOf(topology, options.hostBridgeForwarding);
  const fabric = new Fabric(map, forwarding, registers);
  const functions = buildFunctions({ topology, options, layout, bars, nodes, fabric, registers });
  const notes = [...layout.notes, ...capabilityNotes(topology, guessed)];
  return { functions, ram, cpu: new Cpu(fabric), notes };
}

function buildFunctions(parts: Parts): readonly SimFunction[] {
  const { topology, options, layout, bars, nodes, fabric, registers } = parts;
  const { scheduler, events } = options;
  const functions: SimFunction[] = [];
  const resetBelow = (bridge: FabricNode): void => {
    for (const [i, node] of nodes.entries()) if (isBelow(node, bridge)) functions[i]?.busReset();
  };
  const multiFunction = multiFunctionDevices(topology.functions);
  const virtual = virtualFunctions(topology.functions);
  const engines = {
    fabric,
    scheduler,
    events,
    chunkBytes: options.dmaChunkBytes ?? DEFAULT_CHUNK,
    seed: options.seed ?? 0,
  };
  for (const [i, info] of topology.functions.entries()) {
    const node = nodes[i];
    if (node === undefined) continue;
    const dmaMask = options.dmaMask?.(info) ?? ALL_ADDRESSES;
    node.port = connect(parts, info, dmaMask);
    const config = buildConfig({
      info,
      portType: node.portType,
      multiFunction: multiFunction.has(deviceKey(info)),
      bars: layout.bars[i] ?? [],
      windows: layout.windows[i] ?? [],
      virtual: (virtual.get(i) ?? []).map((vf) => distanceOf(topology, i, vf)),
    });
    functions.push(
      new SimFunction({
        info,
        node,
        config,
        bars: byIndex(info, bars[i] ?? []),
        dmaMask,
        dma: node.port?.dma ?? new DirectMapper(info.address, dmaMask),
        engine: new SimDmaEngine(node, engines, dmaMask),
        scheduler,
        registers,
        events,
        keepBarMemory: options.keepBarMemory ?? false,
        resetBelow,
        physical: () => functions[info.physfn],
        virtual: () => (virtual.get(i) ?? []).flatMap((vf) => functions[vf] ?? []),
      }),
    );
  }
  return functions;
}

/** The function's port at the IOMMU; undefined in a machine without one. */
function connect(
  { topology, options, layout }: Parts,
  info: PciFunctionInfo,
  dmaMask: bigint,
): IommuPort | undefined {
  return options.iommu?.connect({
    name: info.address,
    isPci: true,
    dmaMask,
    reserved: messageWindow(topology.machine?.cpu),
    bridgeWindows: windowsOf(layout, info),
  });
}

function ramRegions(ram: HostMemory): SystemRegion[] {
  return ram.ranges.map(({ start, length }) => ({
    ...spanOf(start, length),
    kind: "ram",
    memory: ram.memory,
  }));
}

function busRegions(layout: Layout, roots: readonly Bus[]): SystemRegion[] {
  return layout.apertures.flatMap(({ cpu, length, hostBridge, busOffset }): SystemRegion[] => {
    const bus = roots[hostBridge];
    if (bus === undefined) return [];
    const busOffsetPages = Number(busOffset / 4096n);
    return [{ ...spanOf(cpu, length), kind: "bus", bus, busOffsetPages }];
  });
}

function forwardingOf(
  { hostBridges }: MachineTopology,
  option: MachineOptions["hostBridgeForwarding"],
): (from: number, to: number) => HostBridgeForwarding {
  if (typeof option !== "function") return () => option ?? "forward";
  return (from, to) => {
    const source = hostBridges[from];
    const target = hostBridges[to];
    return source === undefined || target === undefined ? "block" : option(source, target);
  };
}

/** Windows of a function's own host bridge as bus addresses (dma-iova R19). */
function windowsOf(layout: Layout, info: PciFunctionInfo): IovaRange[] {
  return (layout.reserved[info.hostBridge] ?? []).map(({ first, last }) => ({
    first: iova(first),
    last: iova(last),
  }));
}

function messageWindow(cpu: string | undefined): ReservedRegion[] {
  // Arm IOMMUs place the window themselves, POWER bridges have none below them: only x86 fixes it.
  if (cpu === "arm" || cpu === "power") return [];
  return [{ first: iova(0xfee0_0000n), last: iova(0xfeef_ffffn), kind: "msi" }];
}

/** Indexes of virtual functions by that of their physical function, in address order. */
function virtualFunctions(functions: readonly PciFunctionInfo[]): Map<number, number[]> {
  const found = new Map<number, number[]>();
  for (const [index, { physfn }] of functions.entries()) {
    if (physfn < 0) continue;
    const list = found.get(physfn);
    if (list === undefined) found.set(physfn, [index]);
    else list.push(index);
  }
  return found;
}

function distanceOf({ functions }: MachineTopology, physical: number, virtual: number): number {
  const id = (index: number): number => {
    const info = functions[index];
    return info === undefined ? 0 : routingId(info.bus, info.slot, info.fn);
  };
  return id(virtual) - id(physical);
}

function deviceKey(info: PciFunctionInfo): string {
  return info.address.slice(0, -2);
}

function multiFunctionDevices(functions: readonly PciFunctionInfo[]): Set<string> {
  return new Set(
    functions.filter((info) => info.fn > 0 && info.physfn < 0).map((info) => deviceKey(info)),
  );
}

/** Memory BARs as placed; I/O BARs as the topology shows them. */
function byIndex(info: PciFunctionInfo, bars: readonly SimBar[]): (PciBar | undefined)[] {
  return Array.from({ length: 6 }, (_, index) => {
    const shown = info.bars[index];
    if (shown?.kind !== "io") return bars.find((bar) => bar.index === index);
    if (shown.length === undefined) return undefined;
    const { start, busStart, length } = shown;
    return { index, kind: "io", start: physAddr(start), busStart: busAddr(busStart), length };
  });
}

function isBelow(node: FabricNode, bridge: FabricNode): boolean {
  for (let above = node.bus.owner; above !== undefined; above = above.bus.owner) {
    if (above === bridge) return true;
  }
  return false;
}
