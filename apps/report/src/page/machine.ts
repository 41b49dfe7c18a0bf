import {
  applyEdits,
  type EditedTopology,
  matrix,
  P2pdma,
  type PairMatrix,
  type PciFunctionInfo,
  type PciTopology,
  whatIf,
} from "@peerbar/p2pdma";
import { type ClassName, isOfClass, type Subject } from "@peerbar/words";
import type { ReportData } from "../data.js";
import { changes, editsOf, nothingChanged, type WhatIfState } from "./edits.js";

/** A machine as captured or after edits, and who answers for it. */
export interface Machine {
  readonly subject: Subject;
  readonly p2pdma: P2pdma;
  readonly edited: EditedTopology;
}

/** The state itself, or none at all where its edits cannot be made: a link may come from another machine. */
export function usable(topology: PciTopology, state: WhatIfState): WhatIfState {
  try {
    applyEdits(topology, editsOf(state));
    return state;
  } catch {
    return nothingChanged;
  }
}

/** The machine with edits made; {@link usable} tells beforehand whether they can be. */
export function machineOf(topology: PciTopology, data: ReportData, state: WhatIfState): Machine {
  const edited = applyEdits(topology, editsOf(state));
  const cpu = edited.cpu ?? data.cpu;
  const p2pdma = new P2pdma(edited.topology, {
    cpu,
    ...(edited.trust === undefined ? {} : { trust: edited.trust }),
  });
  const cpuEvidence = edited.cpu === undefined ? data.cpuEvidence : "what if";
  return { subject: { topology: edited.topology, cpu, cpuEvidence }, p2pdma, edited };
}

export const memberClasses = ["gpu", "nic", "nvme", "storage", "other"] as const;
export type MemberClass = (typeof memberClasses)[number];

/** Which functions the matrix compares. */
export interface Filter {
  readonly classes: readonly MemberClass[];
  readonly vfs: boolean;
}

/** The class of a function among the filters; NVMe is no other storage. */
export function memberClass(fn: PciFunctionInfo): MemberClass {
  const order: readonly ClassName[] = ["gpu", "nic", "nvme", "storage"];
  return (order.find((name) => isOfClass(fn, name)) as MemberClass | undefined) ?? "other";
}

/** How many endpoints each class has, virtual functions counted apart. */
export function countClasses(topology: PciTopology): ReadonlyMap<MemberClass | "vf", number> {
  const counts = new Map<MemberClass | "vf", number>();
  for (const fn of topology.endpoints()) {
    const key = fn.physfn >= 0 ? "vf" : memberClass(fn);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** What share BARs in practice, where there is any; else everything. */
export function firstFilter(topology: PciTopology): Filter {
  const counts = countClasses(topology);
  const useful = (["gpu", "nic", "nvme"] as const).filter((name) => counts.has(name));
  const enough = useful.reduce((sum, name) => sum + (counts.get(name) ?? 0), 0) >= 3;
  return {
    classes: enough ? useful : memberClasses.filter((name) => counts.has(name)),
    vfs: false,
  };
}

/** Endpoints that a filter leaves, in address order; `always` are in it whatever their class. */
export function membersOf(
  topology: PciTopology,
  filter: Filter,
  always: readonly string[] = [],
): readonly string[] {
  return topology
    .endpoints()
    .filter(
      (fn) =>
        always.includes(fn.address) ||
        (filter.classes.includes(memberClass(fn)) && (filter.vfs || fn.physfn < 0)),
    )
    .map((fn) => fn.address);
}

/** How many providers {@link firstPair} looks at: those with most to share come first. */
const LOOKED_AT = 12;

/** A pair worth looking at first: a GPU (or what has most memory to share) and the nearest NIC that is kept from it, else reaches it. */
export function firstPair(
  p2pdma: P2pdma,
  members: readonly string[],
): readonly [string, string] | undefined {
  const { topology } = p2pdma;
  const fns = members.map((name) => topology.at(name)).filter((fn) => fn.physfn < 0);
  const providers = fns.sort((a, b) => rankOf(a) - rankOf(b) || shared(b) - shared(a));
  const nics = fns.filter((fn) => memberClass(fn) === "nic");
  const clients = nics.length > 0 ? nics : fns;
  const pairs = matrix(p2pdma, [...providers.slice(0, LOOKED_AT), ...clients]);
  const rows = Math.min(LOOKED_AT, providers.length);
  let best: { readonly score: number; readonly pair: readonly [string, string] } | undefined;
  for (const [row, provider] of providers.slice(0, rows).entries()) {
    for (const [i, client] of clients.entries()) {
      if (client === provider) continue;
      const far = row / 50 + pairs.distanceAt(row, rows + i) / 1000;
      const mapType = pairs.mapTypeAt(row, rows + i);
      // A port that can be named, and a fix with it, tells more than two host bridges.
      const port =
        mapType === "not-supported" && p2pdma.decide(provider, client).acsRedirect.length > 0;
      const score = interest[mapType] + (port ? 0.5 : 0) - far;
      if (best !== undefined && score <= best.score) continue;
      best = { score, pair: [provider.address, client.address] };
    }
  }
  return best?.pair;
}

const interest = { "not-supported": 3, "thru-host-bridge": 2, unknown: 1, "bus-addr": 0 } as const;

function rankOf(fn: PciFunctionInfo): number {
  return ["gpu", "nvme", "nic", "storage", "other"].indexOf(memberClass(fn));
}

/** Bytes of the largest memory BAR. */
function shared(fn: PciFunctionInfo): number {
  return Math.max(
    0,
    ...fn.bars.map((bar) => (bar?.kind === "memory" ? Number(bar.length ?? 0n) : 0)),
  );
}

/** What edits do, beyond the pair that is looked at. */
export interface Effect {
  readonly changed: number;
  readonly total: number;
  /** `not-supported → bus-addr`, with how many. */
  readonly sums: readonly { readonly from: string; readonly to: string; readonly count: number }[];
  readonly groups: { readonly before: number; readonly after: number } | undefined;
  readonly assumptions: readonly string[];
}

/** Compares the matrix with what it was; undefined where nothing is edited. */
export function effectOf(
  topology: PciTopology,
  state: WhatIfState,
  was: PairMatrix,
  is: PairMatrix,
): Effect | undefined {
  if (!changes(state)) return undefined;
  const sums = new Map<string, { from: string; to: string; count: number }>();
  let changed = 0;
  for (let row = 0; row < is.size; row += 1) {
    for (let column = 0; column < is.size; column += 1) {
      if (was.codeAt(row, column) === is.codeAt(row, column)) continue;
      changed += 1;
      const [from, to] = [was.mapTypeAt(row, column), is.mapTypeAt(row, column)];
      const key = `${from} ${to}`;
      const sum = sums.get(key) ?? { from, to, count: 0 };
      sum.count += 1;
      sums.set(key, sum);
    }
  }
  // Without members it tells groups and assumptions alone.
  const { groups, assumptions } = whatIf(topology, editsOf(state), { members: [] });
  return {
    changed,
    total: is.size ** 2,
    sums: [...sums.values()],
    groups:
      groups === undefined
        ? undefined
        : { before: groups.before.length, after: groups.after.length },
    assumptions,
  };
}
