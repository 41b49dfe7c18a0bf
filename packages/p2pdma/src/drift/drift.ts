import { type ChangedPair, comparePairs } from "../advice/what-if.js";
import { P2pdma } from "../p2pdma.js";
import type { PciTopology } from "../pci-topology.js";
import { agreesAsShown } from "./as-shown.js";
import { type Fact, type FactName, type FactOptions, factsOf } from "./facts.js";
import { slotPaths } from "./slot-path.js";

/** One way in which a machine differs from its reference. */
export interface Drift {
  /** Slot path, or `machine`. */
  readonly place: string;
  /** Address on the machine; on the reference where the machine has nothing there; undefined for the machine as a whole. */
  readonly address: string | undefined;
  /** `device`: another device, or none on one side. */
  readonly name: FactName;
  /** Undefined where the reference does not show it, or has no device there. */
  readonly expected: string | undefined;
  readonly found: string | undefined;
  /** `missing` and `extra`: a device only the reference, or only the machine has. `not-shown`: one side cannot tell. */
  readonly how: "differs" | "missing" | "extra" | "not-shown";
  /** Devices below a missing or extra bridge that are gone, or came, with it; they are not listed. */
  readonly below: number;
}

/**
 * How `machine` differs from `reference`, in order of place. Empty where every fact agrees.
 *
 * Facts of a device that one side lacks, or has replaced, are not listed one by one.
 */
export function driftOf(
  reference: PciTopology,
  machine: PciTopology,
  options: FactOptions = {},
): readonly Drift[] {
  const want = byPlace(factsOf(reference, options));
  const have = byPlace(factsOf(machine, options));
  // A listing without privilege shows VFs, and not whose they are: the count of their PF says that it cannot be told.
  const virtual = [virtualPlaces(reference), virtualPlaces(machine)];
  const drifts: Drift[] = [];
  for (const place of [...new Set([...want.keys(), ...have.keys()])].sort()) {
    const a = want.get(place);
    const b = have.get(place);
    if (a === undefined || b === undefined) {
      if (virtual.some((places) => places.has(place))) continue;
      const only = a ?? b;
      if (only !== undefined) drifts.push(presence(only, a === undefined ? "extra" : "missing"));
    } else drifts.push(...differences(a, b));
  }
  return withoutDescendants(drifts);
}

/**
 * Ordered pairs of endpoints in both machines whose answer differs, virtual functions left out. Addresses are the machine's.
 */
export function driftedPairs(reference: PciTopology, machine: PciTopology): readonly ChangedPair[] {
  const there = slotPaths(machine);
  const index = new Map(there.map((path, i) => [path, i]));
  const before: number[] = [];
  const after: number[] = [];
  const endpoints = new Set(reference.endpoints());
  for (const [i, path] of slotPaths(reference).entries()) {
    const fn = reference.functions[i];
    const same = index.get(path);
    const other = machine.functions[same ?? -1];
    if (fn === undefined || same === undefined || other === undefined) continue;
    if (!endpoints.has(fn) || fn.physfn >= 0 || fn.deviceId !== other.deviceId) continue;
    before.push(i);
    after.push(same);
  }
  return comparePairs(new P2pdma(reference), before, new P2pdma(machine), after);
}

function virtualPlaces(topology: PciTopology): ReadonlySet<string> {
  const paths = slotPaths(topology);
  return new Set(
    topology.functions.flatMap((fn, index) => (fn.physfn >= 0 ? (paths[index] ?? []) : [])),
  );
}

function byPlace(facts: readonly Fact[]): Map<string, Map<FactName, Fact>> {
  const places = new Map<string, Map<FactName, Fact>>();
  for (const fact of facts) {
    const there = places.get(fact.place) ?? new Map<FactName, Fact>();
    places.set(fact.place, there.set(fact.name, fact));
  }
  return places;
}

function presence(facts: Map<FactName, Fact>, how: "missing" | "extra"): Drift {
  const device = facts.get("device");
  const value = device?.value;
  return {
    place: device?.place ?? "",
    address: device?.address,
    name: "device",
    expected: how === "missing" ? value : undefined,
    found: how === "extra" ? value : undefined,
    how,
    below: 0,
  };
}

function differences(a: Map<FactName, Fact>, b: Map<FactName, Fact>): Drift[] {
  const drifts: Drift[] = [];
  for (const [name, { place, value: expected }] of a) {
    const other = b.get(name);
    const found = other?.value;
    if (expected === found) continue;
    const how = howOf(name, expected, found);
    const drift: Drift = { place, address: other?.address, name, expected, found, how, below: 0 };
    // Another device in the slot: what else differs comes with it.
    if (name === "device" && how === "differs") return [drift];
    drifts.push(drift);
  }
  return drifts;
}

/** A value that is absent, or agrees but for parts that are not shown, cannot be told (p2pdma R29 in spirit). */
function howOf(
  name: FactName,
  expected: string | undefined,
  found: string | undefined,
): Drift["how"] {
  if (expected === undefined || found === undefined) return "not-shown";
  return agreesAsShown(name, expected, found) ? "not-shown" : "differs";
}

/** A bridge that is missing takes along what is below it: that is one difference. */
function withoutDescendants(drifts: readonly Drift[]): readonly Drift[] {
  const kept: Drift[] = [];
  for (const drift of drifts) {
    const last = kept.at(-1);
    const below =
      last !== undefined &&
      (last.how === "missing" || last.how === "extra") &&
      drift.how === last.how &&
      drift.place.startsWith(`${last.place}/`);
    if (below) kept[kept.length - 1] = { ...last, below: last.below + 1 };
    else kept.push(drift);
  }
  return kept;
}
