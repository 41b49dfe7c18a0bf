import type { PciTopology } from "../pci-topology.js";

/** Whether the machine runs with an IOMMU: groups say yes, only the machine itself says no; undefined where the input shows neither. */
export function hasIommu(topology: PciTopology): boolean | undefined {
  if (topology.machine?.iommu !== undefined) return topology.machine.iommu;
  const hasGroups =
    topology.iommuGroups.length > 0 || topology.functions.some((fn) => fn.iommuGroup !== undefined);
  return hasGroups ? true : undefined;
}
