import { addressKey, busKey, formatBus } from "./address.js";
import { isSharable } from "./bars.js";
import { PciTopology } from "./pci-topology.js";
import { Places } from "./places.js";
import { plainText } from "./plain-text.js";
import type { FunctionRecord } from "./record.js";
import { inferRootComplete } from "./root-complete.js";
import { linkVirtualFunctions } from "./sriov.js";
import type {
  HostBridgeInfo,
  IommuGroupInfo,
  MachineInfo,
  PciFunctionInfo,
  TopologySource,
} from "./topology.js";

/** A root bus that the input names itself (sysfs `pciDDDD:BB`, a capture). */
export interface KnownRoot {
  readonly domain: number;
  readonly bus: number;
  readonly complete: boolean;
}

export interface AssembleOptions {
  readonly source: Omit<TopologySource, "warnings"> & { readonly warnings?: readonly string[] };
  readonly machine?: MachineInfo | undefined;
  readonly iommuGroups?: readonly IommuGroupInfo[];
  /** Root buses that the input names. All other root buses are judged by what is on them. */
  readonly roots?: readonly KnownRoot[];
  /** The input begins in the middle of a function: its first root bus lacks its first functions. */
  readonly headTruncated?: boolean;
  /** Functions of the input could not be read, and any root bus may lack its first. */
  readonly blocksLost?: boolean;
}

/**
 * Links functions to a tree: the one place where every parser's records become a {@link PciTopology}.
 *
 * A function's parent is the bridge that owns its bus (secondary bus number), unless the input names the parent itself. Broken
 * bus numbers (two bridges with one bus, a bus at or below its bridge's own, loops) are read the way that cannot loop, and reported
 * in `source.warnings`. Names and all other text lose what would steer a terminal ({@link plainText}).
 *
 * @see include/linux/pci.h, pci_upstream_bridge(); drivers/pci/probe.c, pci_scan_bridge_extend()
 */
export function assemble(
  records: readonly FunctionRecord[],
  options: AssembleOptions,
): PciTopology {
  const warnings = [...(options.source.warnings ?? [])];
  const sorted = [...records].sort((a, b) => addressKey(a) - addressKey(b));
  const physfn = linkVirtualFunctions(sorted, warnings);
  const links = linkParents(sorted, physfn, warnings);
  breakLoops(sorted, links.parent, physfn, warnings);
  placeVirtualFunctions(links, physfn);
  const tops = rootRecords(links.parent, physfn);
  const hostBridges = hostBridgesOf(sorted, tops, options);
  for (const [index, record] of sorted.entries()) {
    // A VF has no memory enable bit of its own: it decodes with its PF (PCI Express base spec 9.3.3.3.4).
    const pf = sorted[physfn[index] ?? -1];
    if (pf !== undefined) record.memoryEnabled = pf.memoryEnabled;
  }
  const hostIndex = new Map(hostBridges.map((h, i) => [busKey(h.domain, h.bus), i]));
  const functions = sorted.map((record, index): PciFunctionInfo => {
    const top = sorted[tops[index] ?? index] ?? record;
    return functionInfo(record, {
      parent: links.parent[index] ?? -1,
      hidden: links.hidden[index] === 1,
      physfn: physfn[index] ?? -1,
      hostBridge: hostIndex.get(busKey(top.domain, rootBusOf(top))) ?? -1,
    });
  });
  return new PciTopology({
    functions,
    hostBridges,
    source: plainSource({ ...options.source, warnings: [...new Set(warnings)] }),
    machine: options.machine === undefined ? undefined : plainMachine(options.machine),
    iommuGroups: (options.iommuGroups ?? []).map(({ id, type }) => ({ id, type: plain(type) })),
  });
}

function plain<T extends string | undefined>(text: T): T {
  return text === undefined ? text : (plainText(text) as T);
}

function plainSource(source: TopologySource): TopologySource {
  return {
    format: source.format,
    name: plainText(source.name),
    missing: source.missing.map(plainText),
    warnings: source.warnings.map(plainText),
  };
}

function plainMachine(machine: MachineInfo): MachineInfo {
  return { ...machine, cpuEvidence: plain(machine.cpuEvidence) };
}

interface Links {
  readonly parent: Int32Array;
  /** 1 where a bridge between the function and its parent is not in the input. */
  readonly hidden: Uint8Array;
}

function linkParents(
  records: readonly FunctionRecord[],
  physfn: Int32Array,
  warnings: string[],
): Links {
  const owners = busOwners(records, warnings);
  const places = new Places(records);
  const parent = new Int32Array(records.length).fill(-1);
  const hidden = new Uint8Array(records.length);
  for (const [index, record] of records.entries()) {
    if ((physfn[index] ?? -1) >= 0) continue;
    const named = namedParent(record, places);
    if (named !== undefined) {
      parent[index] = named;
      hidden[index] = record.hiddenUpstream ? 1 : 0;
      continue;
    }
    const owner = owners.exact(record);
    if (owner >= 0) parent[index] = owner;
    else if (!owners.looksLikeRoot(record)) {
      const covering = owners.covering(record);
      parent[index] = covering;
      hidden[index] = covering >= 0 ? 1 : 0;
    }
  }
  return { parent, hidden };
}

/** A VF sits where its PF sits, whatever bus its routing ID falls on (pci_upstream_bridge). */
function placeVirtualFunctions(links: Links, physfn: Int32Array): void {
  for (const [index, pf] of physfn.entries()) {
    if (pf < 0) continue;
    links.parent[index] = links.parent[pf] ?? -1;
    links.hidden[index] = links.hidden[pf] ?? 0;
  }
}

/** One step up: from a VF to its PF, from all others to the bridge. */
function above(index: number, parent: Int32Array, physfn: Int32Array): number {
  const pf = physfn[index] ?? -1;
  return pf >= 0 ? pf : (parent[index] ?? -1);
}

function namedParent(record: FunctionRecord, places: Places): number | undefined {
  if (record.parentAddress === null) return -1;
  if (record.parentAddress === undefined) return undefined;
  return places.of(record.parentAddress);
}

interface BusOwners {
  /** The bridge whose secondary bus this is, or -1. */
  exact(record: FunctionRecord): number;
  /** The nearest bridge that forwards to this bus, or -1. */
  covering(record: FunctionRecord): number;
  looksLikeRoot(record: FunctionRecord): boolean;
}

function busOwners(records: readonly FunctionRecord[], warnings: string[]): BusOwners {
  const exact = new Map<number, number>();
  const covering = new Map<number, number>();
  const rootBuses = new Set<number>();
  for (const [index, record] of records.entries()) {
    if (belongsToRootComplex(record)) rootBuses.add(busKey(record.domain, record.bus));
    const buses = record.busNumbers;
    if (buses === undefined || buses.secondary === 0) continue;
    // The kernel refuses these numbers too and assigns others (pci_scan_bridge_extend); accepting them could close a loop.
    if (buses.secondary <= record.bus || buses.subordinate < buses.secondary) {
      warnings.push(
        `${record.address}: bus numbers ${buses.secondary.toString(16)}-${buses.subordinate.toString(16)} behind bus ${record.bus.toString(16)} are broken; ignored`,
      );
      continue;
    }
    const key = busKey(record.domain, buses.secondary);
    const first = exact.get(key);
    if (first === undefined) exact.set(key, index);
    else {
      warnings.push(
        `${record.address}: bus ${formatBus(record.domain, buses.secondary)} is also behind ${records[first]?.address ?? ""}; that one is taken`,
      );
      continue;
    }
    for (let bus = buses.secondary + 1; bus <= Math.min(buses.subordinate, 0xff); bus += 1) {
      // Sorted by address, a deeper bridge comes later and is the nearer one.
      covering.set(busKey(record.domain, bus), index);
    }
  }
  const at = (map: ReadonlyMap<number, number>, record: FunctionRecord): number =>
    map.get(busKey(record.domain, record.bus)) ?? -1;
  return {
    exact: (record) => at(exact, record),
    covering: (record) => at(covering, record),
    looksLikeRoot: (record) => rootBuses.has(busKey(record.domain, record.bus)),
  };
}

/** Host bridges, root ports and integrated endpoints exist on root buses only. */
function belongsToRootComplex(record: FunctionRecord): boolean {
  return (
    record.portType === "root-port" ||
    record.portType === "rc-integrated-endpoint" ||
    record.portType === "rc-event-collector" ||
    (record.classCode !== undefined && record.classCode >>> 8 === 0x0600)
  );
}

/** Parents that the input names (a capture, a sysfs path) can loop; bus numbers cannot. */
function breakLoops(
  records: readonly FunctionRecord[],
  parent: Int32Array,
  physfn: Int32Array,
  warnings: string[],
): void {
  const state = new Uint8Array(parent.length); // 0 new, 1 on the current path, 2 known to end
  for (let start = 0; start < parent.length; start += 1) {
    let at = start;
    while (at >= 0 && state[at] === 0) {
      state[at] = 1;
      const next = above(at, parent, physfn);
      if (next >= 0 && state[next] === 1) {
        warnings.push(`${records[at]?.address ?? ""}: its bridges form a loop; taken as a root`);
        parent[at] = -1;
        physfn[at] = -1;
      }
      at = above(at, parent, physfn);
    }
    for (at = start; at >= 0 && state[at] === 1; at = above(at, parent, physfn)) state[at] = 2;
  }
}

/** Index of the root-bus function above each function; above a VF, that of its PF. */
function rootRecords(parent: Int32Array, physfn: Int32Array): Int32Array {
  const top = new Int32Array(parent.length).fill(-1);
  const path: number[] = [];
  for (let start = 0; start < parent.length; start += 1) {
    let at = start;
    path.length = 0;
    while ((top[at] ?? -1) < 0 && above(at, parent, physfn) >= 0) {
      path.push(at);
      at = above(at, parent, physfn);
    }
    const root = (top[at] ?? -1) >= 0 ? (top[at] ?? at) : at;
    top[at] = root;
    for (const index of path) top[index] = root;
  }
  return top;
}

function rootBusOf(record: FunctionRecord): number {
  return record.rootBus?.domain === record.domain ? record.rootBus.bus : record.bus;
}

function hostBridgesOf(
  records: readonly FunctionRecord[],
  tops: Int32Array,
  options: AssembleOptions,
): HostBridgeInfo[] {
  const roots = new Map<number, { domain: number; bus: number; members: number[] }>();
  const known = new Map<number, boolean>();
  for (const root of options.roots ?? []) {
    const key = busKey(root.domain, root.bus);
    known.set(key, root.complete);
    roots.set(key, { domain: root.domain, bus: root.bus, members: [] });
  }
  for (const [index, top] of tops.entries()) {
    const record = records[index];
    if (top !== index || record === undefined) continue;
    const bus = rootBusOf(record);
    const key = busKey(record.domain, bus);
    const entry = roots.get(key) ?? { domain: record.domain, bus, members: [] };
    roots.set(key, entry);
    // VFs are not tops: the kernel adds them to the root bus when SR-IOV is enabled, after all others.
    entry.members.push(index);
  }
  const judge = inferRootComplete(records, options);
  return [...roots.entries()]
    .map(
      ([key, root]): HostBridgeInfo => ({
        domain: root.domain,
        bus: root.bus,
        first: root.members[0] ?? -1,
        complete: known.get(key) ?? judge(root.members),
      }),
    )
    .sort((a, b) => a.domain - b.domain || a.bus - b.bus);
}

function functionInfo(
  record: FunctionRecord,
  links: { parent: number; hidden: boolean; physfn: number; hostBridge: number },
): PciFunctionInfo {
  return {
    address: record.address,
    domain: record.domain,
    bus: record.bus,
    slot: record.slot,
    fn: record.fn,
    vendorId: record.vendorId,
    deviceId: record.deviceId,
    classCode: record.classCode,
    name: plain(record.name),
    headerType: record.headerType,
    ...(record.multiFunction === undefined ? {} : { multiFunction: record.multiFunction }),
    portType: record.portType,
    acs:
      record.acs.state === "unknown"
        ? { state: "unknown", why: plainText(record.acs.why) }
        : record.acs,
    parent: links.parent,
    ...(links.hidden ? { hiddenUpstream: true as const } : {}),
    physfn: links.physfn,
    hostBridge: links.hostBridge,
    busNumbers: record.busNumbers,
    windows: record.windows,
    bars: record.bars,
    ...(lacksMemoryBars(record, links.physfn >= 0) ? { noMemoryBars: true as const } : {}),
    memoryEnabled: record.memoryEnabled,
    numaNode: record.numaNode,
    iommuGroup: record.iommuGroup,
    driver: plain(record.driver),
    link: record.link,
    deviceNames: record.deviceNames.map(plainText),
  };
}

/** The registers of a virtual function read as zero: only the kernel knows its BARs, and a listing made from config space does not. */
function lacksMemoryBars(record: FunctionRecord, isVirtual: boolean): boolean {
  if (!record.barsShown || isVirtual) return false;
  return !record.bars.some((bar) => bar !== undefined && isSharable(bar));
}
