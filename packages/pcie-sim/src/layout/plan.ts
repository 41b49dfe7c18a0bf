import type { PciBarInfo, PciFunctionInfo } from "@peerbar/p2pdma";
import {
  type BarLengths,
  type BusSpan,
  FOUR_GIB,
  type MachineTopology,
  powerOfTwo,
  type Window,
} from "./layout.js";

/** A memory BAR on its way to a place. */
export interface Item {
  readonly fn: number;
  readonly info: PciBarInfo;
  readonly length: bigint;
  /** Natural alignment: the length, rounded up to a power of two. */
  readonly align: bigint;
  /** Bus address; undefined until placed. */
  bus: bigint | undefined;
}

/** Bus minus CPU address of a host bridge, below and above 4 GiB. */
export interface Offsets {
  low: bigint;
  high: bigint;
}

/** Everything that the assigner decides upon, indexed by function. Mutable, gone once the layout is made. */
export interface Plan {
  readonly functions: readonly PciFunctionInfo[];
  readonly children: readonly (readonly number[])[];
  /** Functions on root buses, by host bridge. */
  readonly roots: readonly (readonly number[])[];
  readonly items: readonly (readonly Item[])[];
  readonly windows: Window[][];
  readonly offsets: readonly Offsets[];
  /** Addresses of functions whose BARs have no size. */
  readonly sizeless: Set<string>;
}

export function spanOfItem(item: Item & { readonly bus: bigint }): BusSpan {
  return { first: item.bus, last: item.bus + item.length - 1n };
}

export function isPlaced(item: Item): item is Item & { bus: bigint } {
  return item.bus !== undefined;
}

export function busOffset(offsets: Offsets | undefined, bus: bigint): bigint {
  if (offsets === undefined) return 0n;
  return bus < FOUR_GIB ? offsets.low : offsets.high;
}

/** Reads the topology: the tree, the BARs that have a size, the windows and offsets it shows. */
export function makePlan(topology: MachineTopology, lengths: BarLengths | undefined): Plan {
  const { functions, hostBridges } = topology;
  const children: number[][] = functions.map(() => []);
  const roots: number[][] = hostBridges.map(() => []);
  for (const [index, fn] of functions.entries()) {
    const list = functions[fn.parent] === undefined ? roots[fn.hostBridge] : children[fn.parent];
    list?.push(index);
  }
  const sizeless = new Set<string>();
  const items = functions.map((fn, index) => itemsOf(fn, index, lengths, sizeless));
  const offsets = hostBridges.map(() => ({ low: 0n, high: 0n }));
  const plan: Plan = {
    functions,
    children,
    roots,
    items,
    windows: functions.map(windowsOf),
    offsets,
    sizeless,
  };
  learnOffsets(plan);
  dropOverlaps(plan);
  return plan;
}

function itemsOf(
  fn: PciFunctionInfo,
  index: number,
  lengths: BarLengths | undefined,
  sizeless: Set<string>,
): Item[] {
  const items: Item[] = [];
  for (const info of fn.bars) {
    if (info?.kind !== "memory") continue;
    const length = info.length ?? lengths?.(fn, info);
    if (length === undefined || length <= 0n) {
      sizeless.add(fn.address);
      continue;
    }
    const align = powerOfTwo(length);
    const fits = info.is64Bit || info.busStart + length <= FOUR_GIB;
    const placed = info.start > 0n && info.busStart > 0n && info.busStart % align === 0n && fits;
    items.push({ fn: index, info, length, align, bus: placed ? info.busStart : undefined });
  }
  return items;
}

function windowsOf(fn: PciFunctionInfo): Window[] {
  const windows: Window[] = [];
  for (const { kind, first, last } of fn.windows) {
    if (kind === "io" || first > last || windows.some((window) => window.kind === kind)) continue;
    // The memory window's registers have 32 bits.
    if (kind === "memory" && last >= FOUR_GIB) continue;
    windows.push({ kind, first, last });
  }
  return windows;
}

/** The first placed BAR on each side of 4 GiB tells the host bridge's offset; BARs that say otherwise are placed anew. */
function learnOffsets(plan: Plan): void {
  const known = plan.offsets.map(() => ({ low: false, high: false }));
  for (const item of plan.items.flat()) {
    const bridge = plan.functions[item.fn]?.hostBridge ?? -1;
    const offsets = plan.offsets[bridge];
    const seen = known[bridge];
    if (item.bus === undefined || offsets === undefined || seen === undefined) continue;
    const side = item.bus < FOUR_GIB ? "low" : "high";
    const offset = item.info.busStart - item.info.start;
    if (!seen[side]) {
      offsets[side] = offset;
      seen[side] = true;
    } else if (offsets[side] !== offset) item.bus = undefined;
  }
}

/** Two BARs at one CPU address: the second, by function address, is placed anew. */
function dropOverlaps(plan: Plan): void {
  const placed: { readonly span: BusSpan; readonly item: Item }[] = [];
  for (const item of plan.items.flat()) {
    if (!isPlaced(item)) continue;
    const cpu =
      item.bus - busOffset(plan.offsets[plan.functions[item.fn]?.hostBridge ?? -1], item.bus);
    placed.push({ span: { first: cpu, last: cpu + item.length - 1n }, item });
  }
  placed.sort((a, b) =>
    a.span.first === b.span.first ? a.item.fn - b.item.fn : a.span.first < b.span.first ? -1 : 1,
  );
  let end = -1n;
  for (const { span, item } of placed) {
    if (span.first <= end) item.bus = undefined;
    else end = span.last;
  }
}
