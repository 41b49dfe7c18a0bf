import { emptyRecord, type FunctionRecord } from "../record.js";
import type { AcsInfo, BridgeWindow, LinkInfo, PciBarInfo, PortType } from "../topology.js";

/** A BAR to be placed. */
interface BarSpec {
  readonly index: number;
  readonly length: bigint;
  readonly prefetchable: boolean;
  readonly is64Bit: boolean;
}

/** One function of a machine to be generated; a bridge has `children` on its secondary bus. */
export interface NodeSpec {
  readonly slot: number;
  readonly fn?: number;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly classCode: number;
  readonly name: string;
  readonly portType: PortType | "none";
  readonly acs?: AcsInfo;
  readonly bars?: readonly BarSpec[];
  readonly link?: LinkInfo;
  readonly driver?: string;
  readonly deviceNames?: readonly string[];
  readonly children?: readonly NodeSpec[];
  /** Virtual functions: on this function's bus, right after it. */
  readonly vfs?: { readonly count: number; readonly offset: number; readonly template: NodeSpec };
}

export interface RootSpec {
  readonly domain: number;
  readonly bus: number;
  readonly numaNode: number | undefined;
  /** Where this root bus's windows begin: below 4 GiB, and 64-bit prefetchable. CPU physical addresses in bytes. */
  readonly memoryBase: bigint;
  readonly prefetchableBase: bigint;
  /** Added to a CPU physical address for the bus address (p2pdma R3). */
  readonly busOffset: bigint;
  readonly children: readonly NodeSpec[];
}

const MIB = 0x10_0000n;

/** Numbers buses depth first and places BARs into nested, non-overlapping bridge windows, as firmware does. */
export function layOut(root: RootSpec): FunctionRecord[] {
  const layout = new Layout(root);
  for (const child of root.children) layout.place(child, root.bus, null);
  return layout.records;
}

class Layout {
  readonly records: FunctionRecord[] = [];
  readonly #root: RootSpec;
  #lastBus: number;
  #memory: bigint;
  #prefetchable: bigint;

  constructor(root: RootSpec) {
    this.#root = root;
    this.#lastBus = root.bus;
    this.#memory = root.memoryBase;
    this.#prefetchable = root.prefetchableBase;
  }

  place(node: NodeSpec, bus: number, parent: string | null): FunctionRecord {
    const record = this.#record(node, bus, parent);
    if (node.children !== undefined) this.#placeBridge(record, node.children);
    else this.#placeBars(record, node.bars ?? []);
    if (node.vfs !== undefined) this.#placeVfs(record, node.vfs);
    return record;
  }

  #record(node: NodeSpec, bus: number, parent: string | null): FunctionRecord {
    const record = emptyRecord({
      domain: this.#root.domain,
      bus,
      slot: node.slot,
      fn: node.fn ?? 0,
    });
    record.vendorId = node.vendorId;
    record.deviceId = node.deviceId;
    record.classCode = node.classCode;
    record.name = node.name;
    record.headerType = node.children === undefined ? 0 : 1;
    record.portType = node.portType;
    record.acs = node.acs ?? { state: "none" };
    record.memoryEnabled = true;
    record.numaNode = this.#root.numaNode;
    record.driver = node.driver;
    record.link = node.link;
    record.deviceNames = [...(node.deviceNames ?? [])];
    record.parentAddress = parent;
    record.rootBus = { domain: this.#root.domain, bus: this.#root.bus };
    this.records.push(record);
    return record;
  }

  #placeBridge(record: FunctionRecord, children: readonly NodeSpec[]): void {
    this.#lastBus += 1;
    const secondary = this.#lastBus;
    this.#alignToMib();
    const memory = this.#memory;
    const prefetchable = this.#prefetchable;
    const placed = this.records.length;
    for (const child of children) this.place(child, secondary, record.address);
    record.busNumbers = { primary: record.bus, secondary, subordinate: this.#lastBus };
    this.#alignToMib();
    const below = this.records.slice(placed).flatMap((r) => r.bars);
    record.windows = [
      ...windowOf("memory", memory, this.#memory, below, this.#root.busOffset),
      ...windowOf("prefetchable", prefetchable, this.#prefetchable, below, this.#root.busOffset),
    ];
  }

  #placeBars(record: FunctionRecord, bars: readonly BarSpec[]): void {
    // Largest first wastes least; registers keep their own order.
    const byLength = [...bars].sort((a, b) => (a.length < b.length ? 1 : -1));
    for (const bar of byLength) record.bars[bar.index] = this.#bar(bar, this.#take(bar, 1n));
    fillHoles(record.bars);
  }

  #placeVfs(pf: FunctionRecord, vfs: NonNullable<NodeSpec["vfs"]>): void {
    const bars = vfs.template.bars ?? [];
    const bases = bars.map((bar) => this.#take(bar, BigInt(vfs.count)));
    for (let n = 0; n < vfs.count; n += 1) {
      const devfn = ((pf.slot << 3) | pf.fn) + vfs.offset + n;
      const place = { ...vfs.template, slot: devfn >> 3, fn: devfn & 7 };
      const vf = this.#record(place, pf.bus, pf.parentAddress ?? null);
      vf.physfnAddress = pf.address;
      for (const [i, bar] of bars.entries()) {
        vf.bars[bar.index] = this.#bar(bar, (bases[i] ?? 0n) + BigInt(n) * bar.length);
      }
      fillHoles(vf.bars);
    }
  }

  /** Next free addresses for `count` BARs of one size. */
  #take(bar: BarSpec, count: bigint): bigint {
    const next = bar.prefetchable ? this.#prefetchable : this.#memory;
    const start = ((next + bar.length - 1n) / bar.length) * bar.length;
    if (bar.prefetchable) this.#prefetchable = start + bar.length * count;
    else this.#memory = start + bar.length * count;
    return start;
  }

  #bar(bar: BarSpec, start: bigint): PciBarInfo {
    return {
      index: bar.index,
      kind: "memory",
      start,
      busStart: BigInt.asUintN(64, start + this.#root.busOffset),
      length: bar.length,
      is64Bit: bar.is64Bit,
      prefetchable: bar.prefetchable,
    };
  }

  #alignToMib(): void {
    this.#memory = ((this.#memory + MIB - 1n) / MIB) * MIB;
    this.#prefetchable = ((this.#prefetchable + MIB - 1n) / MIB) * MIB;
  }
}

/** Arrays with holes do not survive JSON: absent registers are undefined elements. */
function fillHoles(bars: (PciBarInfo | undefined)[]): void {
  for (let i = 0; i < bars.length; i += 1) bars[i] ??= undefined;
}

/** The window over what was placed in `[from, to)`, as bus addresses; none when nothing was. */
function windowOf(
  kind: BridgeWindow["kind"],
  from: bigint,
  to: bigint,
  below: readonly (PciBarInfo | undefined)[],
  busOffset: bigint,
): BridgeWindow[] {
  let lowest: bigint | undefined;
  for (const bar of below) {
    if (bar === undefined || bar.prefetchable !== (kind === "prefetchable")) continue;
    if (lowest === undefined || bar.start < lowest) lowest = bar.start;
  }
  if (lowest === undefined) return [];
  const first = lowest < from ? from : (lowest / MIB) * MIB;
  return [
    {
      kind,
      first: BigInt.asUintN(64, first + busOffset),
      last: BigInt.asUintN(64, to - 1n + busOffset),
    },
  ];
}
