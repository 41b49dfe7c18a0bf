import type { P2pdmaDecision, PciTopology } from "@peerbar/p2pdma";
import type { PlacedEdge } from "./tree-layout.js";

export type Side = "provider" | "client" | "both";

/** Which boxes of the tree the way of a pair lights up, and which of them turn requests up. */
export interface Way {
  readonly sides: ReadonlyMap<string, Side>;
  readonly redirects: ReadonlySet<string>;
  readonly unknown: ReadonlySet<string>;
  readonly meet: string | undefined;
  /** Host bridges (`host 0000:15`) in the order in which requests would pass them; empty where they turn below. */
  readonly hosts: readonly string[];
}

/** The way of a decision over the tree. Where requests cannot turn below, it goes on to the host bridges. */
export function wayOver(topology: PciTopology, decision: P2pdmaDecision): Way {
  const sides = new Map<string, Side>();
  const mark = (key: string, side: Side): void => {
    const was = sides.get(key);
    sides.set(key, was === undefined || was === side ? side : "both");
  };
  const { commonAncestor, upPath, downPath, hostBridges, provider, client } = decision;
  for (const step of upPath)
    mark(step.address, step.address === commonAncestor ? "both" : "provider");
  for (const step of downPath) mark(step.address, "client");
  if (provider === client) mark(provider, "both");
  const turnsBelow = commonAncestor !== undefined && decision.mapTypeAsShown === "bus-addr";
  const hosts: string[] = [];
  if (!turnsBelow && provider !== client) {
    if (commonAncestor !== undefined) {
      let at = topology.get(commonAncestor)?.parent ?? -1;
      for (; at >= 0; at = topology.functions[at]?.parent ?? -1) {
        mark(topology.functions[at]?.address ?? "", "both");
      }
    }
    const [mine, theirs] = hostBridges;
    for (const [verdict, side] of [
      [mine, "provider"],
      [theirs, "client"],
    ] as const) {
      const key = `host ${verdict.root}`;
      mark(key, mine.root === theirs.root ? "both" : side);
      if (!hosts.includes(key)) hosts.push(key);
    }
  }
  const counted = commonAncestor === undefined ? [] : [...upPath, ...downPath];
  return {
    sides,
    redirects: new Set(decision.acsRedirect),
    unknown: new Set(
      counted.flatMap((step) => (step.redirects === undefined ? [step.address] : [])),
    ),
    meet: provider === client ? undefined : commonAncestor,
    hosts,
  };
}

/** The side of a line between two boxes; undefined where the way does not go along it. */
export function sideOfEdge(way: Way, { from, to }: PlacedEdge): Side | undefined {
  const [a, b] = [way.sides.get(from.key), way.sides.get(to.key)];
  if (a === undefined || b === undefined) return undefined;
  return b === "both" ? "both" : b;
}
