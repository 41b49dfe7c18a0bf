import type { P2pdmaDecision, PciTopology } from "@peerbar/p2pdma";

/** Closeness in the words of nvidia-smi topo. X: the same device. */
export type PathClass = "X" | "PIX" | "PXB" | "PHB" | "NODE" | "SYS";

export const pathClassWords: Readonly<Record<PathClass, string>> = {
  X: "the same function",
  PIX: "at most one PCIe switch between them",
  PXB: "several PCIe switches, no host bridge",
  PHB: "through one host bridge",
  NODE: "through two host bridges of one NUMA node",
  SYS: "across NUMA nodes",
};

/** By place alone: where ACS redirects, traffic goes up further than this says. Undefined where the NUMA nodes matter and are not shown. */
export function pathClass(topology: PciTopology, decision: P2pdmaDecision): PathClass | undefined {
  if (decision.provider === decision.client) return "X";
  const { commonAncestor, upPath, downPath } = decision;
  if (commonAncestor !== undefined) {
    const upstreams = [...upPath, ...downPath].filter(
      ({ address }) => topology.get(address)?.portType === "switch-upstream",
    ).length;
    return upstreams <= 1 ? "PIX" : "PXB";
  }
  const [mine, theirs] = decision.hostBridges;
  if (mine.root === theirs.root) return "PHB";
  const a = topology.get(decision.provider)?.numaNode ?? -1;
  const b = topology.get(decision.client)?.numaNode ?? -1;
  if (a < 0 || b < 0) return undefined;
  return a === b ? "NODE" : "SYS";
}

/** Which kind of address the client will use for the BAR. */
export interface Mapping {
  readonly kind: "bus" | "iova" | "direct" | "none" | "unknown";
  readonly why: string;
}

const translating = new Set(["DMA", "DMA-FQ"]);

/**
 * What the kernel's mapping gives: by map type, and where that is the host bridge by the client's IOMMU domain (p2pdma, section 1).
 *
 * @param domain - type of every group, or `none` without an IOMMU, instead of what the topology says
 */
export function mappingOf(
  topology: PciTopology,
  decision: P2pdmaDecision,
  domain?: string,
): Mapping {
  switch (decision.mapType) {
    case "not-supported":
      return { kind: "none", why: "the mapping is refused" };
    case "unknown":
      return { kind: "unknown", why: "the map type is not known" };
    case "bus-addr":
      return { kind: "bus", why: "the BAR's bus address, past the IOMMU" };
    case "thru-host-bridge":
      return throughHost(topology, decision.client, domain);
  }
}

function throughHost(topology: PciTopology, client: string, domain: string | undefined): Mapping {
  if (domain === "none") return { kind: "direct", why: "the BAR's CPU physical address: no IOMMU" };
  const group = topology.get(client)?.iommuGroup;
  const type = domain ?? topology.iommuGroups.find((info) => info.id === group)?.type;
  if (type === undefined) {
    return {
      kind: "unknown",
      why: "an IOVA where an IOMMU translates for the client, the CPU physical address where none does: the input does not show its group",
    };
  }
  const where = `the client's IOMMU group ${group === undefined ? "" : `${String(group)} `}is of type ${type}`;
  if (translating.has(type)) return { kind: "iova", why: `an I/O virtual address: ${where}` };
  return type === "identity"
    ? { kind: "direct", why: `the BAR's CPU physical address: ${where}` }
    : { kind: "unknown", why: `decided by who owns the domain: ${where}` };
}
