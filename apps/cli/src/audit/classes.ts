import { factsOf, type PciTopology, parseTopology } from "@peerbar/p2pdma";
import type { Side } from "./difference.js";
import type { Ledger } from "./ledger.js";
import { isReading, type Outcome } from "./reading.js";

/** Captures that agree in every fact. */
export interface Kind {
  readonly kind: string;
  readonly shape: string;
  readonly hidden: number;
  count: number;
  /** The first few, for a text to name; the ledger has all. */
  readonly paths: string[];
}

/** Machines that should be alike: the same devices in the same slots, or nearly so. */
export interface MachineClass {
  /** Eight digits of the shape's hash: the same class has the same name in every run. */
  readonly name: string;
  /** What the others are compared with: the most frequent kind that shows everything. */
  readonly reference: Kind;
  /** All kinds, the most frequent first; the reference among them, unless it was given from outside. */
  readonly kinds: readonly Kind[];
  readonly captures: number;
}

/** Names kept of each kind. */
const NAMED = 8;
/** How much of a larger class's devices a machine must share to be a member that differs, not a class of its own. */
const ALIKE = 0.75;
/** How many times larger the class must be: two models of one maker are alike, and both are right. */
const LARGER = 4;
/** Small classes are compared with at most this many large ones. */
const CANDIDATES = 64;

/** Counts kinds, as outcomes come in. */
export class Kinds {
  readonly all = new Map<string, Kind>();
  captures = 0;
  unread = 0;
  /** The directory, with its slash, that all are below; empty where there is none. */
  base: string | undefined;

  add(outcome: Outcome): void {
    this.base = commonDirectory(this.base, outcome.path);
    if (!isReading(outcome)) {
      this.unread += 1;
      return;
    }
    this.captures += 1;
    const { kind, shape, hidden, path } = outcome;
    const known = this.all.get(kind);
    if (known === undefined) this.all.set(kind, { kind, shape, hidden, count: 1, paths: [path] });
    else {
      known.count += 1;
      if (known.paths.length < NAMED) known.paths.push(path);
    }
  }
}

function commonDirectory(base: string | undefined, path: string): string {
  if (base === undefined) return path.slice(0, path.lastIndexOf("/") + 1);
  let common = base;
  while (!path.startsWith(common))
    common = common.slice(0, common.lastIndexOf("/", common.length - 2) + 1);
  return common;
}

/** What `--reference` names: all are compared with it. */
export interface GivenReference {
  readonly kind: Kind;
  readonly side: Side;
}

/** Reads the capture of a kind from whichever ledger has it. */
export class KindCaptures {
  readonly #ledgers: readonly Ledger[];
  readonly #given: GivenReference | undefined;

  /** `given` comes from outside the fleet. */
  constructor(ledgers: readonly Ledger[], given?: GivenReference) {
    this.#ledgers = ledgers;
    this.#given = given;
  }

  async sideOf(kind: Kind): Promise<Side> {
    if (kind.kind === this.#given?.kind.kind) return this.#given.side;
    for (const ledger of this.#ledgers) {
      const capture = await ledger.captureOf(kind.kind);
      if (capture !== undefined) return { name: kind.paths[0] ?? kind.kind, capture };
    }
    throw new Error(`no ledger has the capture of ${kind.kind}`);
  }

  async topologyOf(kind: Kind): Promise<PciTopology> {
    const { name, capture } = await this.sideOf(kind);
    return parseTopology(capture, { name });
  }
}

/** One class of all captures, compared with the reference that was given. */
export function classOf(kinds: Kinds, { kind }: GivenReference): MachineClass {
  const known = kinds.all.get(kind.kind);
  return {
    name: nameOf(kind),
    reference: { ...kind, count: known?.count ?? 0 },
    kinds: [...kinds.all.values()].sort(byCount),
    captures: kinds.captures,
  };
}

/**
 * Kinds to classes, the largest first. A shape that shares most of its devices with a larger class is a part of that class: a node
 * that lost a card is not a new kind of machine.
 */
export async function classify(
  kinds: Kinds,
  captures: KindCaptures,
): Promise<readonly MachineClass[]> {
  const shapes = new Map<string, Kind[]>();
  for (const kind of kinds.all.values()) {
    const list = shapes.get(kind.shape);
    if (list === undefined) shapes.set(kind.shape, [kind]);
    else list.push(kind);
  }
  const groups = [...shapes.values()].map(groupOf).sort(bySize);
  const merged = await mergeAlike(groups, captures);
  return merged.sort(bySize).map(({ reference, kinds: members, captures: count }) => ({
    name: nameOf(reference),
    reference,
    kinds: members.sort(byCount),
    captures: count,
  }));
}

function nameOf({ shape }: Kind): string {
  return shape.slice("sha256:".length).slice(0, 8);
}

interface Group {
  readonly reference: Kind;
  readonly kinds: Kind[];
  captures: number;
}

function groupOf(kinds: Kind[]): Group {
  kinds.sort(byCount);
  const reference = kinds.find((kind) => kind.hidden === 0) ?? kinds[0];
  if (reference === undefined) throw new Error("a shape has a kind");
  return { reference, kinds, captures: kinds.reduce((sum, kind) => sum + kind.count, 0) };
}

async function mergeAlike(groups: readonly Group[], captures: KindCaptures): Promise<Group[]> {
  const kept: (Group & { devices: ReadonlySet<string> })[] = [];
  for (const group of groups) {
    const devices = devicesOf(await captures.topologyOf(group.reference));
    const larger = kept
      .slice(0, CANDIDATES)
      .filter((other) => other.captures >= group.captures * LARGER)
      .map((other) => ({ other, alike: likeness(devices, other.devices) }))
      .sort((a, b) => b.alike - a.alike)[0];
    if (larger !== undefined && larger.alike >= ALIKE) {
      larger.other.kinds.push(...group.kinds);
      larger.other.captures += group.captures;
    } else if (kept.length < CANDIDATES) kept.push({ ...group, devices });
    else kept.push({ ...group, devices: new Set() });
  }
  return kept;
}

function devicesOf(topology: PciTopology): ReadonlySet<string> {
  const devices = factsOf(topology).filter(({ name }) => name === "device");
  return new Set(devices.map(({ place, value }) => `${place} ${value ?? "?"}`));
}

/** Shared devices as a part of all devices of the two. */
function likeness(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  let shared = 0;
  for (const device of a) if (b.has(device)) shared += 1;
  return shared / (a.size + b.size - shared);
}

function byCount(a: Kind, b: Kind): number {
  return b.count - a.count || (a.kind < b.kind ? -1 : 1);
}

function bySize(a: Group, b: Group): number {
  return b.captures - a.captures || (a.reference.shape < b.reference.shape ? -1 : 1);
}
