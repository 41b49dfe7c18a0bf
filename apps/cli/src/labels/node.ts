import {
  captureHash,
  formatBus,
  type MapType,
  matrix,
  P2pdma,
  type PairMatrix,
  type PciFunctionInfo,
  type PciTopology,
} from "@peerbar/p2pdma";
import { type ClassName, isOfClass, type Subject } from "@peerbar/words";

/** Classes that labels speak of. */
export const labelled = ["gpu", "nic", "nvme"] as const satisfies readonly ClassName[];
export type LabelledClass = (typeof labelled)[number];

/** A device that a scheduler may choose. */
export interface NodeDevice {
  readonly fn: PciFunctionInfo;
  readonly kind: LabelledClass;
  /** Position in {@link NodeFacts.pairs}. */
  readonly row: number;
  /** Root bus: `pci0000:18`. */
  readonly root: string;
  /** Upstream port of the switch it is below; undefined below a root port. */
  readonly switchPort: string | undefined;
  /** Lowest address of the devices that reach each other switch-locally; undefined where it reaches none, and none reaches it. */
  readonly domain: string | undefined;
}

/** What labels are made from. */
export interface NodeFacts {
  readonly subject: Subject;
  readonly topology: PciTopology;
  readonly hash: string;
  /** Physical functions of the labelled classes, by address; the VGA of a service processor is no GPU to schedule. */
  readonly devices: readonly NodeDevice[];
  readonly pairs: PairMatrix;
}

export function nodeFacts(subject: Subject): NodeFacts {
  const { topology } = subject;
  const found = topology.functions.flatMap((fn) => {
    const kind = fn.physfn >= 0 ? undefined : labelled.find((name) => isOfClass(fn, name));
    return kind === undefined || (kind === "gpu" && !isCompute(fn)) ? [] : [{ fn, kind }];
  });
  const pairs = matrix(
    new P2pdma(topology, { cpu: subject.cpu }),
    found.map(({ fn }) => fn),
  );
  const domains = domainsOf(pairs);
  const devices = found.map(({ fn, kind }, row): NodeDevice => {
    const domain = found[domains[row] ?? -1]?.fn.address;
    return {
      fn,
      kind,
      row,
      root: rootOf(topology, fn),
      switchPort: switchOf(topology, fn),
      domain,
    };
  });
  return { subject, topology, hash: captureHash(topology), devices, pairs };
}

/**
 * Row of the first device of each one's domain; -1 for a device alone. Everyone in a domain reaches every other by bus address, both ways:
 * equal names must mean that, and so each device joins the first domain of which that is true.
 */
function domainsOf(pairs: PairMatrix): readonly number[] {
  const mutual = (a: number, b: number): boolean =>
    pairs.mapTypeAt(a, b) === "bus-addr" && pairs.mapTypeAt(b, a) === "bus-addr";
  const domains: number[][] = [];
  for (let row = 0; row < pairs.size; row += 1) {
    const home = domains.find((members) => members.every((member) => mutual(member, row)));
    if (home === undefined) domains.push([row]);
    else home.push(row);
  }
  const first = Array.from({ length: pairs.size }, () => -1);
  for (const members of domains) {
    if (members.length > 1) for (const member of members) first[member] = members[0] ?? -1;
  }
  return first;
}

function rootOf(topology: PciTopology, fn: PciFunctionInfo): string {
  const host = topology.hostBridges[fn.hostBridge];
  return `pci${formatBus(fn.domain, host?.bus ?? fn.bus)}`;
}

function switchOf(topology: PciTopology, fn: PciFunctionInfo): string | undefined {
  for (let above = topology.functions[fn.parent]; above !== undefined; ) {
    if (above.portType === "switch-upstream") return above.address;
    above = topology.functions[above.parent];
  }
  return undefined;
}

/** How many ordered pairs of two classes have each answer, a device with itself left out. */
export function pairCounts(
  { devices, pairs }: NodeFacts,
  provider: LabelledClass,
  client: LabelledClass,
): Readonly<Record<MapType | "unknown", number>> {
  const counts = { "bus-addr": 0, "thru-host-bridge": 0, "not-supported": 0, unknown: 0 };
  for (const a of devices) {
    if (a.kind !== provider) continue;
    for (const b of devices) {
      if (b.kind === client && a.row !== b.row) counts[pairs.mapTypeAt(a.row, b.row)] += 1;
    }
  }
  return counts;
}

/** Makers of GPUs whose VGA-class functions compute; a service processor's VGA does not. */
const computeVendors = new Set([0x10de, 0x1002, 0x8086]);

/** A GPU that a job could run on: a 3D controller or accelerator, or a VGA function of a maker of such. */
function isCompute({ classCode, vendorId }: PciFunctionInfo): boolean {
  if (classCode === undefined) return false;
  return classCode >>> 8 !== 0x0300 || (vendorId !== undefined && computeVendors.has(vendorId));
}
