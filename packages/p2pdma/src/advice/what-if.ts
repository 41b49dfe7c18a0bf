import type { MapType } from "../decision.js";
import { matrix, type PairMatrix } from "../matrix.js";
import { P2pdma, type P2pdmaOptions } from "../p2pdma.js";
import type { FunctionRef, PciTopology } from "../pci-topology.js";
import { applyEdits, type EditedTopology, type TopologyEdit } from "./edits.js";
import { differingGroups, type GroupChanges, groupsOf } from "./group-changes.js";
import { hasIommu } from "./iommu-state.js";
import { type DmaMappingKind, dmaMapping } from "./mapping.js";

/** What is compared for a pair. */
export interface PairAnswer {
  readonly mapType: MapType | "unknown";
  /** Distance as the kernel counts it: steps up from both to where their ways meet (p2pdma R9). */
  readonly distance: number;
  readonly mapping: DmaMappingKind;
}

/** One pair whose answer differs after the edits. */
export interface ChangedPair {
  readonly provider: string;
  readonly client: string;
  readonly before: PairAnswer;
  readonly after: PairAnswer;
}

/** What differs after the edits: pairs, and IOMMU groups. */
export interface WhatIf extends Omit<EditedTopology, "cpu" | "trust"> {
  readonly before: P2pdma;
  readonly after: P2pdma;
  /** Ordered pairs whose answer differs, in the order of the members. */
  readonly pairs: readonly ChangedPair[];
  /** IOMMU groups that differ, as the ACS settings of both sides make them; undefined where there is no IOMMU on either side. */
  readonly groups: GroupChanges | undefined;
}

/** Which pairs are compared, and how they are decided. */
export interface WhatIfOptions extends P2pdmaOptions {
  /** Functions whose pairs are compared; default all endpoints. */
  readonly members?: readonly FunctionRef[];
}

/**
 * What edits would change: pairs and IOMMU groups that differ between the machine and an edited copy of it.
 *
 * Groups are computed for both sides by the same rules, so that a difference is the edit's; device quirks are not modelled.
 * @throws DmaBufError as {@link applyEdits}; the topology given is never changed
 */
export function whatIf(
  topology: PciTopology,
  edits: readonly TopologyEdit[],
  options: WhatIfOptions = {},
): WhatIf {
  const { members, ...p2pdmaOptions } = options;
  const before = new P2pdma(topology, p2pdmaOptions);
  const { cpu, trust, ...edited } = applyEdits(topology, edits);
  const after = new P2pdma(edited.topology, {
    ...p2pdmaOptions,
    cpu: cpu ?? before.cpu,
    ...(trust === undefined ? {} : { trust }),
  });
  const groups = changedGroups(topology, edited.topology);
  const names = members?.map((ref) => topology.at(ref).address);
  return {
    ...edited,
    assumptions: [
      ...edited.assumptions,
      ...(groups === undefined ? [] : groupAssumptions(topology, edited.topology)),
    ],
    before,
    after,
    pairs: changedPairs(matrix(before, names), matrix(after, names), before, after),
    groups,
  };
}

/**
 * Ordered pairs whose answer differs between two machines. `members` and `sameMembers` list the same functions in the same order;
 * the pairs carry the addresses of `after`.
 */
export function comparePairs(
  before: P2pdma,
  members: readonly FunctionRef[],
  after: P2pdma,
  sameMembers: readonly FunctionRef[],
): readonly ChangedPair[] {
  return changedPairs(matrix(before, members), matrix(after, sameMembers), before, after);
}

function changedPairs(
  was: PairMatrix,
  is: PairMatrix,
  before: P2pdma,
  after: P2pdma,
): ChangedPair[] {
  const mappings = [mappingOf(before, was), mappingOf(after, is)] as const;
  const changed: ChangedPair[] = [];
  for (let row = 0; row < was.size; row += 1) {
    for (let column = 0; column < was.size; column += 1) {
      const a = answerAt(was, row, column, mappings[0]);
      const b = answerAt(is, row, column, mappings[1]);
      if (a.mapType === b.mapType && a.distance === b.distance && a.mapping === b.mapping) continue;
      changed.push({
        provider: after.topology.at(is.members[row] ?? -1).address,
        client: after.topology.at(is.members[column] ?? -1).address,
        before: a,
        after: b,
      });
    }
  }
  return changed;
}

type MappingAt = (row: number, column: number) => DmaMappingKind;

/** Map type and client decide the mapping: each client is looked up once for each map type. */
function mappingOf(p2pdma: P2pdma, pairs: PairMatrix): MappingAt {
  const known = new Map<string, DmaMappingKind>();
  return (row, column) => {
    const key = `${pairs.codeAt(row, column).toString()}/${column.toString()}`;
    const cached = known.get(key);
    if (cached !== undefined) return cached;
    const { kind } = dmaMapping(p2pdma.topology, pairs.decisionAt(row, column));
    known.set(key, kind);
    return kind;
  };
}

function answerAt(pairs: PairMatrix, row: number, column: number, mapping: MappingAt): PairAnswer {
  return {
    mapType: pairs.mapTypeAt(row, column),
    distance: pairs.distanceAt(row, column),
    mapping: mapping(row, column),
  };
}

function changedGroups(before: PciTopology, after: PciTopology): GroupChanges | undefined {
  const had = hasIommu(before) === true;
  const has = hasIommu(after) === true;
  if (!had && !has) return undefined;
  return differingGroups(had ? groupsOf(before) : [], has ? groupsOf(after) : []);
}

/** What the computed groups take for granted of what the input does not show. */
function groupAssumptions(before: PciTopology, after: PciTopology): string[] {
  const bit = before.functions.some((fn) => fn.physfn < 0 && fn.multiFunction === undefined)
    ? ", and a multi-function bit without other functions, which the input does not show, may join some"
    : "";
  const unknown = Math.max(
    ...[before, after].map(
      ({ functions }) => functions.filter((fn) => fn.acs.state === "unknown").length,
    ),
  );
  const sentences = [`IOMMU groups are computed from ACS; device quirks may split some${bit}`];
  if (unknown > 0) {
    const whose = unknown === 1 ? "1 function" : `${unknown.toString()} functions`;
    sentences.push(
      `the ACS of ${whose} is not known and counts as not isolating: the groups may be smaller`,
    );
  }
  return sentences;
}
