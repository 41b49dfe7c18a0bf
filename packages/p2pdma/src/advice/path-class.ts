import type { P2pdmaDecision } from "../decision.js";
import type { PciTopology } from "../pci-topology.js";
import type { PciFunctionInfo } from "../topology.js";

/** Closeness of a pair in the words of `nvidia-smi topo -m`. `X`: a function and itself. */
export type PathClass = "X" | "PIX" | "PXB" | "PHB" | "NODE" | "SYS";

/** What each class means, as a legend. */
export const pathClassWords: Readonly<Record<PathClass, string>> = {
  X: "the same function",
  PIX: "at most one PCIe switch or bridge between them",
  PXB: "several PCIe switches or bridges, no host bridge",
  PHB: "through one host bridge",
  NODE: "through two host bridges of one NUMA node",
  SYS: "across NUMA nodes",
};

/**
 * Class of a pair by place alone: where ACS redirects, requests go up further than it says.
 *
 * @returns undefined where NUMA nodes decide and the input does not show them, or the roots are not in the input
 */
export function pathClass(topology: PciTopology, decision: P2pdmaDecision): PathClass | undefined {
  if (decision.provider === decision.client) return "X";
  const { commonAncestor, upPath, downPath } = decision;
  if (commonAncestor !== undefined) {
    const bridges = [...upPath, ...downPath].filter(({ address }) => {
      const fn = topology.get(address);
      return fn !== undefined && countsAsBridge(fn);
    }).length;
    return bridges <= 1 ? "PIX" : "PXB";
  }
  const provider = topology.at(decision.provider);
  const client = topology.at(decision.client);
  const roots = [provider, client].map((fn) => topology.hostBridges[fn.hostBridge]);
  if (roots.some((root) => root?.complete !== true)) return undefined;
  if (provider.hostBridge === client.hostBridge) return "PHB";
  const { sameNode } = numaNodes(topology, decision);
  return sameNode === undefined ? undefined : sameNode ? "NODE" : "SYS";
}

/** A switch counts once, by its upstream port; its downstream ports and root ports do not. */
function countsAsBridge(fn: PciFunctionInfo): boolean {
  if (fn.portType === "switch-upstream" || fn.portType === "pcie-to-pci") return true;
  return fn.headerType === 1 && (fn.portType === "none" || fn.portType === "pci-to-pcie");
}

/** NUMA nodes of both functions; undefined where the input shows none. */
export interface NumaNodes {
  readonly provider: number | undefined;
  readonly client: number | undefined;
  /** Undefined where the input does not show both. */
  readonly sameNode: boolean | undefined;
}

/** NUMA nodes of both functions, of the physical function for a VF that shows none. */
export function numaNodes(topology: PciTopology, decision: P2pdmaDecision): NumaNodes {
  const nodeOf = (address: string): number | undefined => {
    const fn = topology.at(address);
    const node = fn.numaNode ?? topology.functions[fn.physfn]?.numaNode;
    return node === undefined || node < 0 ? undefined : node;
  };
  const provider = nodeOf(decision.provider);
  const client = nodeOf(decision.client);
  const known = provider !== undefined && client !== undefined;
  return { provider, client, sameNode: known ? provider === client : undefined };
}
