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
 * @returns undefined where NUMA nodes or port types decide and the input does not show them, or the roots or a bridge on the way are not in
 *   the input
 */
export function pathClass(topology: PciTopology, decision: P2pdmaDecision): PathClass | undefined {
  if (decision.provider === decision.client) return "X";
  const { commonAncestor, upPath, downPath } = decision;
  // A bridge that is not in the input may be one more, or a nearer one above both.
  if (decision.bridgeHidden === true) return undefined;
  if (commonAncestor !== undefined) {
    const counted = [...upPath, ...downPath].map(({ address }) => {
      const fn = topology.get(address);
      return fn === undefined ? false : countsAsBridge(fn);
    });
    const bridges = counted.filter((counts) => counts === true).length;
    const perhaps = counted.filter((counts) => counts === undefined).length;
    if (bridges > 1) return "PXB";
    return bridges + perhaps > 1 ? undefined : "PIX";
  }
  const provider = topology.at(decision.provider);
  const client = topology.at(decision.client);
  const roots = [provider, client].map((fn) => topology.hostBridges[fn.hostBridge]);
  if (roots.some((root) => root?.complete !== true)) return undefined;
  if (provider.hostBridge === client.hostBridge) return "PHB";
  const { sameNode } = numaNodes(topology, decision);
  return sameNode === undefined ? undefined : sameNode ? "NODE" : "SYS";
}

/** A switch counts once, by its upstream port; its downstream ports and root ports do not. Undefined: the port type is not shown. */
function countsAsBridge(fn: PciFunctionInfo): boolean | undefined {
  if (fn.portType === "switch-upstream" || fn.portType === "pcie-to-pci") return true;
  if (fn.headerType !== 1) return false;
  if (fn.portType === undefined) return undefined;
  return fn.portType === "none" || fn.portType === "pci-to-pcie";
}

/** NUMA nodes of both functions; undefined where the input shows none. */
export interface NumaNodes {
  /** Node of the function that owns the BAR. */
  readonly provider: number | undefined;
  /** Node of the function that reaches for it. */
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
