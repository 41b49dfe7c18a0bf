import type { P2pdmaDecision } from "../decision.js";
import type { PciTopology } from "../pci-topology.js";

/**
 * Which kind of address the client puts on its wires for the provider's BAR: the BAR's bus address, an I/O virtual address, the CPU
 * physical address unchanged, or none because the mapping is refused.
 */
export type DmaMappingKind = "bus" | "iova" | "direct" | "none" | "unknown";

/** Which addresses the client gets for the provider's BAR, and why. */
export interface DmaMapping {
  readonly kind: DmaMappingKind;
  /** Only where `kind` is `unknown`. */
  readonly possible?: readonly DmaMappingKind[];
  /** As part of a sentence. */
  readonly why: string;
  /** Rule of the specification: `dma-iova section 1`. */
  readonly rule: string;
}

/** Domain types whose mappings are I/O virtual addresses (dma-iova, section 1). */
const translating = new Set(["DMA", "DMA-FQ"]);

const RULE = "dma-iova section 1";

/**
 * The DMA mapping that follows from a decision: by map type, and through the host bridge by the domain type of the client's IOMMU group.
 *
 * @param domain - type of every group, or `none` without an IOMMU, in place of what the topology shows
 * @see Linux 7.2 drivers/iommu/dma-iommu.c, use_dma_iommu(); kernel/dma/direct.h, dma_direct_map_phys()
 */
export function dmaMapping(
  topology: PciTopology,
  decision: P2pdmaDecision,
  domain?: string,
): DmaMapping {
  switch (decision.mapType) {
    case "not-supported":
      return { kind: "none", why: "the mapping is refused", rule: decision.rule };
    case "bus-addr":
      return { kind: "bus", why: "the BAR's bus address, past the IOMMU", rule: "p2pdma R5" };
    case "thru-host-bridge":
      return throughHost(topology, decision.client, domain);
    case "unknown":
      return undecided(topology, decision, domain);
  }
}

function undecided(
  topology: PciTopology,
  decision: P2pdmaDecision,
  domain: string | undefined,
): DmaMapping {
  const kinds = new Set<DmaMappingKind>();
  for (const mapType of decision.possible ?? []) {
    const then = dmaMapping(topology, { ...decision, mapType }, domain);
    for (const kind of then.possible ?? [then.kind]) kinds.add(kind);
  }
  return {
    kind: "unknown",
    possible: [...kinds],
    why: "the map type is not known",
    rule: decision.rule,
  };
}

function throughHost(
  topology: PciTopology,
  client: string,
  domain: string | undefined,
): DmaMapping {
  const direct = (why: string): DmaMapping => ({
    kind: "direct",
    why: `the BAR's CPU physical address: ${why}`,
    rule: RULE,
  });
  if (domain === "none" || (domain === undefined && topology.machine?.iommu === false)) {
    return direct("there is no IOMMU");
  }
  const group = topology.at(client).iommuGroup;
  const type = domain ?? topology.iommuGroups.find((info) => info.id === group)?.type;
  const unknown = (why: string): DmaMapping => ({
    kind: "unknown",
    possible: ["iova", "direct"],
    why,
    rule: RULE,
  });
  if (type === undefined) {
    if (group === undefined && topology.iommuGroups.length > 0) {
      return direct("the client is in no IOMMU group");
    }
    return unknown(
      "an I/O virtual address where an IOMMU translates for the client, else the CPU physical address: the input does not show the type of its IOMMU group",
    );
  }
  const where = `the client's IOMMU group${group === undefined ? "" : ` ${group.toString()}`} is of type ${type}`;
  if (translating.has(type)) {
    return { kind: "iova", why: `an I/O virtual address: ${where}`, rule: RULE };
  }
  if (type === "identity") return direct(where);
  return unknown(`who owns the domain decides: ${where}`);
}
