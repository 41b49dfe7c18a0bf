import type { PciTopology } from "./pci-topology.js";
import { type AcsInfo, acsBits, type PciFunctionInfo } from "./topology.js";

/** SV | RR | CR | UF: what isolates a port for IOMMU groups (drivers/iommu/iommu.c, REQ_ACS_FLAGS). */
const REQUIRED_ACS = acsBits.SV | acsBits.RR | acsBits.CR | acsBits.UF;

/** IOMMU groups as the ACS settings make them. */
export interface IommuGroups {
  /** Group of each function by index; -1 never occurs, every function has one. */
  readonly groupOf: Int32Array;
  /** Members of each group by number, as function indexes. Groups are numbered in address order. */
  readonly groups: readonly (readonly number[])[];
}

/**
 * The IOMMU groups that Linux forms for these ACS settings, as it has for years: a function joins the port above where the way from
 * there to the root does not isolate, and its neighbours in one slot where they do not isolate from each other.
 *
 * Unknown ACS counts as not isolating. Of the device quirks only Intel's integrated endpoints are modelled, so a real kernel may split a
 * few groups further. Downstream ports of one switch that do not isolate stay in groups of their own, although their devices can
 * reach each other: a kernel that closes this gap joins them.
 * @see drivers/iommu/iommu.c, pci_device_group(); drivers/pci/pci.c, pci_acs_enabled()
 */
export function computeIommuGroups(
  topology: PciTopology,
  acs: (index: number) => AcsInfo = (index) => topology.functions[index]?.acs ?? { state: "none" },
): IommuGroups {
  const { functions } = topology;
  const union = new Int32Array(functions.length).map((_, index) => index);
  const find = (index: number): number => {
    let at = index;
    while (union[at] !== at) {
      union[at] = union[union[at] ?? at] ?? at;
      at = union[at] ?? at;
    }
    return at;
  };
  const join = (a: number, b: number): void => {
    const [low, high] = [find(a), find(b)].sort((x, y) => x - y);
    if (low !== undefined && high !== undefined) union[high] = low;
  };
  const isolates = isolation(topology, acs);
  const paths = isolatedPaths(topology, isolates);
  const bySlot = new Map<string, number>();
  for (const [index, fn] of functions.entries()) {
    // Everything below a port that does not isolate shares the port's group.
    const pf = fn.physfn >= 0 ? functions[fn.physfn] : undefined;
    const parent = (pf ?? fn).parent;
    if (parent >= 0 && paths[parent] === 0) join(index, parent);
    if (fn.physfn >= 0 || isolates[index] === 1) continue;
    const slot = slotOf(fn);
    const sibling = bySlot.get(slot);
    if (sibling === undefined) bySlot.set(slot, index);
    else join(index, sibling);
  }
  return collect(functions.length, find);
}

function slotOf(fn: PciFunctionInfo): string {
  return fn.address.slice(0, -2);
}

/** 1 for each function that keeps its requests from its peers (pci_acs_enabled). */
function isolation(topology: PciTopology, acs: (index: number) => AcsInfo): Uint8Array {
  const { functions } = topology;
  const inSlot = new Map<string, number>();
  for (const fn of functions) {
    if (fn.physfn < 0) inSlot.set(slotOf(fn), (inSlot.get(slotOf(fn)) ?? 0) + 1);
  }
  return Uint8Array.from(functions, (fn, index) =>
    isolatesPeers(fn, acs(index), isMultiFunction(fn, inSlot.get(slotOf(fn)) ?? 0)) ? 1 : 0,
  );
}

/**
 * As the kernel sees it: by the header type's bit, whether or not other functions answer, and for functions past 0 in any case. Where the
 * input does not show the bit, by the functions that are there.
 * @see drivers/pci/probe.c, pci_setup_device(), pci_scan_slot()
 */
function isMultiFunction(fn: PciFunctionInfo, functionsInSlot: number): boolean {
  if (fn.physfn >= 0) return false;
  return fn.fn > 0 || (fn.multiFunction ?? functionsInSlot > 1);
}

function isolatesPeers(fn: PciFunctionInfo, acs: AcsInfo, multifunction: boolean): boolean {
  switch (fn.portType) {
    case "root-port":
    case "switch-downstream":
      return flagsEnabled(acs);
    case "endpoint":
    case "legacy-endpoint":
    case "switch-upstream":
      return !multifunction || flagsEnabled(acs);
    case "rc-integrated-endpoint":
      // Intel's pass translated requests only (drivers/pci/quirks.c, pci_quirk_rciep_acs).
      return !multifunction || fn.vendorId === 0x8086 || flagsEnabled(acs);
    // Bridges to and from conventional PCI, event collectors and conventional functions have no ACS to rely on.
    case "pcie-to-pci":
    case "pci-to-pcie":
    case "rc-event-collector":
    case "none":
    case undefined:
      return false;
  }
}

/** Required bits that the function can set at all are set (pci_acs_flags_enabled). */
function flagsEnabled(acs: AcsInfo): boolean {
  if (acs.state !== "present") return false;
  const needed = REQUIRED_ACS & (acs.capability ?? REQUIRED_ACS);
  return (acs.control & needed) === needed;
}

/** 1 for each bridge from which every device up to the root isolates (pci_acs_path_enabled). */
function isolatedPaths(topology: PciTopology, isolates: Uint8Array): Uint8Array {
  const { functions } = topology;
  const result = new Uint8Array(functions.length);
  const known = new Uint8Array(functions.length);
  for (let start = 0; start < functions.length; start += 1) {
    const path: number[] = [];
    for (let at = start; at >= 0 && known[at] === 0; at = functions[at]?.parent ?? -1) {
      path.push(at);
    }
    for (const at of path.reverse()) {
      const parent = functions[at]?.parent ?? -1;
      result[at] = isolates[at] === 1 && (parent < 0 || result[parent] === 1) ? 1 : 0;
      known[at] = 1;
    }
  }
  return result;
}

function collect(count: number, find: (index: number) => number): IommuGroups {
  const numbers = new Map<number, number>();
  const groups: number[][] = [];
  const groupOf = new Int32Array(count).fill(-1);
  for (let index = 0; index < count; index += 1) {
    const root = find(index);
    let number = numbers.get(root);
    if (number === undefined) {
      number = groups.length;
      numbers.set(root, number);
      groups.push([]);
    }
    groupOf[index] = number;
    groups[number]?.push(index);
  }
  return { groupOf, groups };
}
