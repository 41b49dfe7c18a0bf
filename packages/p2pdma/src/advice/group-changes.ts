import { computeIommuGroups } from "../iommu-groups.js";
import type { PciTopology } from "../pci-topology.js";
import type { AcsInfo } from "../topology.js";

/** IOMMU groups that are not the same before and after a change, as addresses of their members. */
export interface GroupChanges {
  readonly before: readonly (readonly string[])[];
  readonly after: readonly (readonly string[])[];
}

export type AcsOf = (index: number) => AcsInfo;

/** Groups of a machine as its ACS settings make them, as addresses. */
export function groupsOf(topology: PciTopology, acs?: AcsOf): string[][] {
  return computeIommuGroups(topology, acs).groups.map((members) =>
    members.map((index) => topology.at(index).address),
  );
}

/** The groups that only one side has. */
export function differingGroups(
  before: readonly (readonly string[])[],
  after: readonly (readonly string[])[],
): GroupChanges {
  const key = (members: readonly string[]): string => members.join(" ");
  const had = new Set(before.map(key));
  const has = new Set(after.map(key));
  return {
    before: before.filter((members) => !has.has(key(members))),
    after: after.filter((members) => !had.has(key(members))),
  };
}
