import {
  type ChangedPair,
  type Drift,
  driftedPairs,
  driftOf,
  type PciFunctionInfo,
  type PciTopology,
  parseTopology,
} from "@peerbar/p2pdma";
import { acsShort, formatBytes, roleOf } from "@peerbar/words";
import { plural } from "../wrap.js";

/** How one kind of machine differs from its class. */
export interface Difference {
  readonly drifts: readonly Drift[];
  /** The drifts in words, those that say the same of several functions together. */
  readonly words: readonly string[];
  /** Ordered pairs of endpoints whose answer differs. */
  readonly pairs: readonly ChangedPair[];
}

/** One of two machines to compare, as a capture. */
export interface Side {
  /** What to call it in an error. */
  readonly name: string;
  /** Text of its capture. */
  readonly capture: string;
}

/** The reference of the last comparison: most of a class are compared with the same. */
let last: { readonly capture: string; readonly topology: PciTopology } | undefined;

/** Compares one machine with its reference. */
export function compare(reference: Side, machine: Side, linkSpeed: boolean): Difference {
  if (last?.capture !== reference.capture) {
    const { capture, name } = reference;
    last = { capture, topology: parseTopology(capture, { name }) };
  }
  const there = parseTopology(machine.capture, { name: machine.name });
  const known = last.topology;
  const drifts = driftOf(known, there, { linkSpeed });
  return { drifts, words: wordsOf(drifts, known, there), pairs: driftedPairs(known, there) };
}

/** Functions named of a difference that many share. */
const NAMED = 4;

function wordsOf(
  drifts: readonly Drift[],
  reference: PciTopology,
  machine: PciTopology,
): readonly string[] {
  const same = new Map<string, Drift[]>();
  for (const drift of drifts) {
    // Where a group begins is another slot for each function: that it is another is what they share.
    const key = drift.name === "isolation" ? "another IOMMU group" : what(drift);
    const list = same.get(key);
    if (list === undefined) same.set(key, [drift]);
    else list.push(drift);
  }
  return [...same].map(([key, list]) => {
    const [only] = list;
    if (only !== undefined && list.length === 1) {
      return `${where(only, reference, machine)}: ${what(only)}`;
    }
    const names = list.slice(0, NAMED).map(({ address }) => address ?? "machine");
    const more = list.length > NAMED ? " ..." : "";
    return `${key} at ${plural(list.length, "function")}: ${names.join(" ")}${more}`;
  });
}

function where(drift: Drift, reference: PciTopology, machine: PciTopology): string {
  if (drift.address === undefined) return "machine";
  const fn = (drift.how === "missing" ? reference : machine).get(drift.address);
  const called = fn === undefined ? "" : label(fn);
  return called === "" ? drift.address : `${drift.address} ${called}`;
}

function label(fn: PciFunctionInfo): string {
  const role = roleOf(fn);
  return fn.name === undefined || fn.headerType === 1 ? role : `${role} ${fn.name}`.trim();
}

function what(drift: Drift): string {
  const { name, how, below } = drift;
  if (how === "missing" || how === "extra") {
    const with_ = below === 0 ? "" : `, and with it ${below.toString()} below`;
    return how === "missing" ? `missing${with_}` : `only here${with_}`;
  }
  const found = valueWords(drift, drift.found);
  const expected = valueWords(drift, drift.expected);
  if (how === "not-shown") {
    if (drift.found === undefined) return `${nouns[name]} not shown; ${expected} in its class`;
    return drift.expected === undefined
      ? `${nouns[name]} ${found}; not shown in its class`
      : `${nouns[name]} ${found}, ${expected} in its class: alike as far as both are shown`;
  }
  return `${nouns[name]} ${found} instead of ${expected}`;
}

const nouns: Readonly<Record<Drift["name"], string>> = {
  device: "device",
  acs: "ACS",
  "link-width": "link",
  "link-maximum": "link at best",
  "link-speed": "link at",
  bars: "BARs",
  vfs: "virtual functions",
  "numa-node": "NUMA node",
  driver: "driver",
  iommu: "IOMMU domains",
  isolation: "IOMMU group begins at slot",
  cpu: "CPU",
};

function valueWords({ name }: Drift, value: string | undefined): string {
  if (value === undefined) return name === "driver" ? "none" : "not shown";
  return spell[name]?.(value) ?? value;
}

/** How values are written for people; as they are where nothing is said. */
const spell: Partial<Record<Drift["name"], (value: string) => string>> = {
  acs: (value) =>
    value === "none"
      ? value
      : acsShort({ state: "present", control: Number(value), capability: undefined }),
  "link-width": (value) => `x${value}`,
  "link-speed": (value) => `${value} GT/s`,
  "link-maximum": (value) => value.replace("x", " GT/s x"),
  bars: (value) => (value === "" ? "none" : value.split(" ").map(barWords).join(", ")),
};

function barWords(bar: string): string {
  const [index, kind, length] = bar.split(":");
  const size = length === undefined || length === "?" ? "?" : formatBytes(BigInt(length));
  return `${index ?? "?"} ${size}${kind === "io" ? " I/O" : ""}`;
}
