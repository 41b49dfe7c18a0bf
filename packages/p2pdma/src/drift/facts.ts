import { inferCpu } from "../cpu.js";
import { formatId, hexNumber } from "../hex.js";
import type { PciTopology } from "../pci-topology.js";
import type { PciBarInfo, PciFunctionInfo } from "../topology.js";
import { hashText } from "./hash.js";
import { slotPaths } from "./slot-path.js";

/**
 * What is compared between machines that should be alike. `device`, `acs`, `host-bridge`, `cpu` and `iommu` decide answers; the rest says
 * how fast, or for whom. Left out is what changes while nobody touches a machine: addresses of BARs, numbers of IOMMU groups, memory
 * decode, kernel names, and the current speed of a link, which power management lowers.
 */
export type FactName =
  | "device"
  | "acs"
  | "link-width"
  | "link-maximum"
  | "link-speed"
  | "bars"
  | "vfs"
  | "numa-node"
  | "driver"
  | "iommu"
  | "isolation"
  | "cpu";

/** One thing that is so on a machine. */
export interface Fact {
  /** Where: a path of slots that renumbered buses do not change, or `machine`. */
  readonly place: string;
  /** Full address there; undefined for the machine as a whole. */
  readonly address: string | undefined;
  readonly name: FactName;
  /** Undefined where the input does not show it. */
  readonly value: string | undefined;
}

/** How much of a machine counts as a fact. */
export interface FactOptions {
  /** Compare the current speed of links too. Default false: an idle device may have lowered it. */
  readonly linkSpeed?: boolean;
}

/** The facts of one machine, virtual functions counted at their physical function. Deterministic: by slot path. */
export function factsOf(topology: PciTopology, options: FactOptions = {}): readonly Fact[] {
  const paths = slotPaths(topology);
  const isolation = isolationOf(topology, paths);
  const vfs = new Map<number, number>();
  for (const fn of topology.functions) {
    if (fn.physfn >= 0) vfs.set(fn.physfn, (vfs.get(fn.physfn) ?? 0) + 1);
  }
  const facts = machineFacts(topology);
  const drivers = topology.functions.some((fn) => fn.driver !== undefined);
  for (const [index, fn] of topology.functions.entries()) {
    if (fn.physfn >= 0) continue;
    const place = paths[index] ?? fn.address;
    for (const [name, value] of functionFacts(fn, options, drivers)) {
      facts.push({ place, address: fn.address, name, value });
    }
    facts.push(
      { place, address: fn.address, name: "vfs", value: vfsValue(topology, fn, vfs.get(index)) },
      { place, address: fn.address, name: "isolation", value: isolation[index] },
    );
  }
  return facts.sort((a, b) => (a.place < b.place ? -1 : a.place > b.place ? 1 : 0));
}

/**
 * Two hashes of a machine's facts: machines of one `shape` have the same devices in the same slots, those of one `kind` agree in every
 * fact. A kind is part of one shape.
 */
export function kindOfMachine(facts: readonly Fact[]): { shape: string; kind: string } {
  const line = (fact: Fact): string => `${fact.place} ${fact.name} ${fact.value ?? "?"}\n`;
  return {
    shape: hashText(
      facts
        .filter((fact) => fact.name === "device")
        .map(line)
        .join(""),
    ),
    kind: hashText(facts.map(line).join("")),
  };
}

function machineFacts(topology: PciTopology): Fact[] {
  const types = [...new Set(topology.iommuGroups.map((group) => group.type ?? "?"))].sort();
  const iommu =
    topology.machine?.iommu === false ? "off" : types.length === 0 ? undefined : types.join(",");
  const { cpu } = inferCpu(topology);
  const fact = (name: FactName, value: string | undefined): Fact => ({
    place: "machine",
    address: undefined,
    name,
    value,
  });
  return [fact("cpu", cpu === "unknown" ? undefined : cpu), fact("iommu", iommu)];
}

function functionFacts(
  fn: PciFunctionInfo,
  options: FactOptions,
  /** The input shows drivers: then a function without one is known to have none. A hex dump shows none at all. */
  drivers: boolean,
): (readonly [FactName, string | undefined])[] {
  const { link } = fn;
  const speed = options.linkSpeed === true ? link?.speed?.toString() : undefined;
  return [
    ["device", `${formatId(fn.vendorId)}:${formatId(fn.deviceId)}`],
    ["acs", acsValue(fn)],
    ["link-width", link?.width?.toString()],
    [
      "link-maximum",
      link === undefined ? undefined : `${show(link.maxSpeed)}x${show(link.maxWidth)}`,
    ],
    ["link-speed", speed],
    ["bars", barsValue(fn)],
    ["numa-node", fn.numaNode?.toString()],
    ["driver", fn.driver ?? (drivers ? "none" : undefined)],
  ];
}

/** Listings tell VFs by their PF's SR-IOV capability, which lies where ACS does: without privilege none is no number (p2pdma R29). */
function vfsValue(
  { source }: PciTopology,
  { acs, headerType }: PciFunctionInfo,
  count: number | undefined,
): string | undefined {
  const hidden = acs.state === "unknown" && headerType !== 1 && source.format.startsWith("lspci");
  return count === undefined && hidden ? undefined : (count ?? 0).toString();
}

function show(value: number | undefined): string {
  return value === undefined ? "?" : value.toString();
}

function acsValue({ acs }: PciFunctionInfo): string | undefined {
  if (acs.state === "unknown") return undefined;
  return acs.state === "none" ? "none" : hexNumber(acs.control, 4);
}

/** A listing without any region of a function may have left them out; only where all BARs are shown none means none. */
function barsValue({ bars, noMemoryBars }: PciFunctionInfo): string | undefined {
  if (bars.length === 0 && noMemoryBars !== true) return undefined;
  return bars.flatMap(barValue).join(" ");
}

function barValue(bar: PciBarInfo | undefined): string[] {
  if (bar === undefined) return [];
  const length = bar.length === undefined ? "?" : `0x${bar.length.toString(16)}`;
  const index = bar.indexInferred === true ? "?" : bar.index.toString();
  return [`${index}:${bar.kind}:${length}`];
}

/** Of each function the first place of its IOMMU group: who must be trusted together, without the group's number. */
function isolationOf(topology: PciTopology, paths: readonly string[]): (string | undefined)[] {
  const first = new Map<number, string>();
  for (const [index, { iommuGroup }] of topology.functions.entries()) {
    if (iommuGroup === undefined) continue;
    const path = paths[index] ?? "";
    const known = first.get(iommuGroup);
    if (known === undefined || path < known) first.set(iommuGroup, path);
  }
  return topology.functions.map(({ iommuGroup }) =>
    iommuGroup === undefined ? undefined : first.get(iommuGroup),
  );
}
