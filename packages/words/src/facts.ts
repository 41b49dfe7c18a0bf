import { hex } from "@peerbar/core";
import {
  dmaMapping,
  linkBottleneck,
  numaNodes,
  type PciFunctionInfo,
  pathClass,
  pathClassWords,
} from "@peerbar/p2pdma";
import type { Account } from "./account.js";
import { formatBytes } from "./bytes.js";

/** One thing that is known of a pair. */
export interface Fact {
  readonly label: string;
  readonly text: string;
}

/** What follows from the decision and what surrounds it, in the order in which people ask. */
export function factsOf(account: Account): readonly Fact[] {
  const { topology } = account.subject;
  const { mapType, possible } = account.decision;
  const mapping = dmaMapping(topology, account.decision);
  return [
    { label: "decided by", text: decidedBy(account) },
    {
      label: "map type",
      text: possible === undefined ? mapType : `${mapType}: ${possible.join(" or ")}`,
    },
    {
      label: "addresses",
      text: mapping.kind === "unknown" ? mapping.why : `${mapping.kind}: ${mapping.why}`,
    },
    { label: "distance", text: distanceText(account) },
    { label: "link", text: linkText(account) },
    { label: "NUMA", text: numaText(account) },
    { label: "groups", text: groupText(account) },
    { label: "BARs", text: barText(account) },
  ];
}

function decidedBy({ subject, decision }: Account): string {
  const { cpu, cpuEvidence } = subject;
  const evidence = cpuEvidence === "" ? "the input does not say; --cpu does" : cpuEvidence;
  if (decision.mapType === "bus-addr") {
    return `the ports below ${decision.commonAncestor ?? ""}: host bridge and CPU are not asked (${decision.rule})`;
  }
  const host = cpu === "amd-zen" ? "the CPU" : "the kernel's list of host bridges";
  // What is not shown may still let the pair meet below a port.
  const who =
    decision.possible?.includes("bus-addr") === true
      ? `the ports on the way, and where one redirects or none is above both ${host}`
      : host;
  return `${who} (${decision.rule}); CPU ${cpu} (${evidence})`;
}

function distanceText({ subject, decision }: Account): string {
  const place = pathClass(subject.topology, decision);
  const words = place === undefined ? "" : `; ${place}: ${pathClassWords[place]}`;
  const refused =
    decision.mapType === "not-supported" ? " (the kernel says -1 where it refuses)" : "";
  const least = decision.distanceAtLeast === true ? "at least " : "";
  return `${least}${String(decision.distance)}${refused}${words}`;
}

function linkText({ subject, decision }: Account): string {
  const { current, maximum, notShown } = linkBottleneck(subject.topology, decision);
  const found = current ?? maximum;
  if (found === undefined) {
    return notShown.length === 0 ? "none is crossed" : "the input shows no link on the way";
  }
  const rate = `${found.gigabits.toFixed(0)} Gb/s (${(found.gigabits / 8).toFixed(1)} GB/s) before packet overhead`;
  const most = current === undefined ? " at best (the present state is not shown)" : "";
  const slowed =
    current !== undefined && maximum !== undefined && maximum.gigabits > current.gigabits;
  const best = slowed
    ? `; at best ${maximum.gigabits.toFixed(0)} Gb/s: check slot, riser and power state`
    : "";
  const hidden =
    notShown.length === 0 || current === undefined ? "" : `; not shown at ${notShown.join(", ")}`;
  return `narrowest at ${found.address}: ${String(found.speed)} GT/s x${String(found.width)}, ${rate}${most}${best}${hidden}`;
}

function numaText({ subject, decision }: Account): string {
  const { provider, client, sameNode } = numaNodes(subject.topology, decision);
  const node = (number: number | undefined): string =>
    number === undefined ? "not shown" : `node ${String(number)}`;
  if (provider === undefined && client === undefined) return "nodes are not shown";
  return sameNode === true
    ? `both ${node(provider)}`
    : `provider ${node(provider)}, client ${node(client)}`;
}

function groupText({ subject, decision }: Account): string {
  const { topology } = subject;
  const group = (fn: PciFunctionInfo): string => {
    const type = topology.iommuGroups.find((info) => info.id === fn.iommuGroup)?.type;
    return fn.iommuGroup === undefined
      ? "not shown"
      : `${String(fn.iommuGroup)}${type === undefined ? "" : ` (${type})`}`;
  };
  const [a, b] = [group(topology.at(decision.provider)), group(topology.at(decision.client))];
  if (a === b) return a === "not shown" ? "IOMMU groups are not shown" : `both in IOMMU group ${a}`;
  return `IOMMU group of the provider ${a}, of the client ${b}`;
}

function barText({ p2pdma, decision }: Account): string {
  const bars = p2pdma.providerBars(decision.provider).filter((one) => one.isProvider);
  if (bars.length === 0) {
    return p2pdma.canProvide(decision.provider) === false
      ? `${decision.provider} has no memory BAR with an address: there is nothing to share`
      : `the input shows no memory BAR of ${decision.provider}, and may not show all`;
  }
  const list = bars.map(({ bar, busOffset }) => {
    const size = bar.length === undefined ? "size not shown" : formatBytes(bar.length);
    const offset = busOffset === 0n ? "" : `, bus address = CPU address + ${hex(busOffset)}`;
    return `BAR ${String(bar.index)} (${size}${offset})`;
  });
  return `can be shared: ${list.join(", ")}`;
}
