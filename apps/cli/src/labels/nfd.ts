import { hasIommu } from "@peerbar/p2pdma";
import { labelled, type NodeFacts, pairCounts } from "./node.js";

/**
 * A feature file of Node Feature Discovery's local source: `key=value` lines below `features.d`. Keys carry NFD's own namespace, which
 * nfd-master admits without being told; values are label values, at most 63 characters. However many devices there are, it is about
 * fifty lines: far from the 64 KiB that nfd-worker reads.
 */
export function nfdFile(facts: NodeFacts): string {
  const { subject, topology, devices } = facts;
  const labels: (readonly [string, string | number | boolean])[] = [
    ["topology", facts.hash.slice("sha256:".length, "sha256:".length + 16)],
    ["cpu", subject.cpu],
    ["iommu", hasIommu(topology) ?? "unknown"],
    ["domains", new Set(devices.flatMap(({ domain }) => domain ?? [])).size],
  ];
  for (const kind of labelled) {
    labels.push([`${kind}.count`, devices.filter((device) => device.kind === kind).length]);
  }
  for (const provider of labelled) {
    for (const client of labelled) {
      const counts = pairCounts(facts, provider, client);
      const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
      if (total === 0) continue;
      // Yes, no, or not told: what a nodeSelector can ask without arithmetic.
      labels.push([`p2p.${provider}.from-${client}`, verdict(counts, total)]);
      for (const [mapType, count] of Object.entries(counts)) {
        labels.push([`p2p.${provider}.from-${client}.${mapType}`, count]);
      }
    }
  }
  return labels
    .map(([name, value]) => `feature.node.kubernetes.io/peerbar.${name}=${String(value)}\n`)
    .join("");
}

function verdict(counts: Readonly<Record<string, number>>, total: number): string {
  const reached = (counts["bus-addr"] ?? 0) + (counts["thru-host-bridge"] ?? 0);
  if (counts["bus-addr"] === total) return "all-switch-local";
  if (reached === total) return "all";
  if ((counts.unknown ?? 0) > 0) return "unknown";
  return reached === 0 ? "none" : "some";
}
