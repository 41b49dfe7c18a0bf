import { acsBits, generateServer, P2pdma, type ServerOptions } from "@peerbar/p2pdma";
import { Decider, type DeciderDefects } from "./decider.js";
import { type Entry, entry, type Trial } from "./entry.js";
import { differs, exporterFails } from "./trials.js";
import { vfioSubject } from "./vfio.js";

/** One ordered pair on one machine in one ACS state. */
interface Pair {
  readonly p2pdma: P2pdma;
  readonly provider: number;
  readonly client: number;
  readonly state: string;
}

const machines: readonly ServerOptions[] = [
  { acs: "off" },
  { acs: "on" },
  { acs: "mixed", hostBridges: "mixed" },
  { acs: "on", hostBridges: "unlisted" },
  { acs: "mixed", hostBridges: "same-only" },
];

/** Every tenth ordered pair of five servers, each with ACS as it is and with one bit at each switch port and at the endpoints. */
function* pairs(): Generator<Pair> {
  for (const options of machines) {
    const topology = generateServer({ vfs: 1, cpu: "intel", ...options });
    const ends = topology.endpoints().map(({ address }) => topology.indexOf(address));
    for (const { state, p2pdma } of states(new P2pdma(topology, { cpu: "intel" }))) {
      let count = 0;
      for (const provider of ends) {
        for (const client of ends) {
          count += 1;
          if (count % 10 === 0 || sameSwitch(p2pdma, provider, client)) {
            yield { p2pdma, provider, client, state: `${options.acs ?? "off"}, ${state}` };
          }
        }
      }
    }
  }
}

function sameSwitch({ topology }: P2pdma, a: number, b: number): boolean {
  const above = (index: number): number =>
    topology.functions[topology.at(index).parent]?.parent ?? -1;
  return above(a) >= 0 && above(a) === above(b);
}

function* states(base: P2pdma): Generator<{ readonly state: string; readonly p2pdma: P2pdma }> {
  yield { state: "as it is", p2pdma: base };
  for (const [name, control] of Object.entries(acsBits)) {
    for (const where of ["downstream ports", "upstream ports", "endpoints"] as const) {
      const p2pdma = base.copy();
      for (const [index, fn] of base.topology.functions.entries()) {
        const isHere =
          where === "endpoints"
            ? fn.headerType === 0
            : fn.portType ===
              (where === "upstream ports" ? "switch-upstream" : "switch-downstream");
        if (isHere) p2pdma.setAcs(index, { state: "present", control, capability: 0x7f });
      }
      yield { state: `${name} at ${where}`, p2pdma };
    }
  }
  const blind = base.copy();
  for (const index of base.topology.functions.keys()) {
    blind.setAcs(index, { state: "unknown", why: "64 bytes of config space were readable" });
  }
  yield { state: "ACS not readable", p2pdma: blind };
}

const OFFSET = 1n << 36n;
const BOUND = "each compared pair of 5 generated servers, in 23 ACS states each";

/** The small decider, right or wrong, against `P2pdma`. */
function decides(names: string, defects: DeciderDefects): Trial {
  return differs<Pair, string>({
    check: "differential",
    names,
    bound: BOUND,
    questions: pairs,
    ask: ({ p2pdma: { topology }, provider, client, state }) =>
      `${topology.at(provider).address} to ${topology.at(client).address} (${state})`,
    expected: ({ p2pdma, provider, client }) => p2pdma.mapType(provider, client),
    mutant: ({ p2pdma, provider, client }) =>
      new Decider(p2pdma, defects).mapType(provider, client),
    right: ({ p2pdma, provider, client }) => new Decider(p2pdma).mapType(provider, client),
  });
}

/** Pairs before and after ACS was switched on at all downstream ports, at run time. */
function* changedPairs(): Generator<{ readonly provider: number; readonly client: number }> {
  const topology = generateServer({ vfs: 0, acs: "off" });
  const ends = topology.endpoints().map(({ address }) => topology.indexOf(address));
  for (const provider of ends) for (const client of ends) yield { provider, client };
}

/** Asks all pairs, changes ACS, and asks again. */
function afterChange(mode: "ideal" | "linux"): P2pdma {
  const topology = generateServer({ vfs: 0, acs: "off" });
  const p2pdma = new P2pdma(topology, { mode, cpu: "intel" });
  for (const { provider, client } of changedPairs()) p2pdma.mapType(provider, client);
  for (const [index, fn] of topology.functions.entries()) {
    if (fn.portType !== "switch-downstream") continue;
    p2pdma.setAcs(index, { state: "present", control: acsBits.RR, capability: 0x7f });
  }
  return p2pdma;
}

/** What the kernel writes to its log of one pair that the list refuses. */
function logsTheHost(pair: Pair, verbose: boolean, linux: boolean): boolean {
  const { p2pdma, provider, client } = pair;
  const decision = p2pdma.decide(provider, client);
  if (decision.mapType !== "not-supported") return false;
  // The argument is called "warn" and is given acs_redirects (p2pdma R14).
  return linux ? decision.acsRedirect.length > 0 : verbose;
}

/** Defects of the topology decision, known-bugs B44 to B50. */
export const topologyEntries: readonly Entry[] = [
  entry(
    {
      id: "B44",
      title: "Whole-chain ACS forgotten",
      trigger: "ACS on the common port alone, or on an endpoint alone",
      wrong: "BUS_ADDR",
      right: "THRU_HOST_BRIDGE, or NOT_SUPPORTED",
      rule: "p2pdma R7",
      evidence: "inferred",
    },
    decides("at upstream ports", { looks: "endpoints" }),
    decides("at endpoints", { looks: "common-port" }),
  ),
  entry(
    {
      id: "B45",
      title: "Wrong ACS mask",
      trigger: "only UF or SV set; only EC set",
      wrong: "UF or SV redirect; EC does not",
      right: "RR, CR and EC redirect, nothing else",
      rule: "p2pdma R7",
      evidence: "inferred",
    },
    decides("UF at", { mask: 0x2c | acsBits.UF | acsBits.SV }),
    decides("EC at", { mask: 0x0c }),
  ),
  entry(
    {
      id: "B46",
      title: "Stale cache of map types",
      trigger: "ask, change ACS at run time, ask again",
      wrong: "the old answer",
      right: "the new one; the kernel's is there as a mode, and is not the default",
      rule: "p2pdma R20, R21",
      evidence: "live in 7.2.13",
    },
    differs({
      check: "differential",
      names: "bus-addr, not",
      bound: "all pairs of a generated server",
      questions: changedPairs,
      ask: ({ provider, client }) => `${String(provider)} to ${String(client)}`,
      expected: ({ provider, client }) => afterwards().fresh.mapType(provider, client),
      mutant: ({ provider, client }) => afterwards().linux.mapType(provider, client),
      right: ({ provider, client }) => afterwards().ideal.mapType(provider, client),
    }),
  ),
  entry(
    {
      id: "B47",
      title: "Warn argument",
      trigger: "a verbose query across root ports of an unlisted host",
      wrong: "no line about the list; one where nobody asked and ACS redirects",
      right: "a line where asked for",
      rule: "p2pdma R14",
      evidence: "live in 7.2.13",
    },
    differs<Pair & { readonly verbose: boolean }, boolean>({
      check: "scenario",
      names: "false, not true",
      bound: BOUND,
      questions: function* () {
        for (const pair of pairs()) {
          yield { ...pair, verbose: true };
          yield { ...pair, verbose: false };
        }
      },
      ask: ({ state, verbose }) => `${state}, ${verbose ? "verbose" : "quiet"}`,
      expected: (pair) =>
        pair.verbose && pair.p2pdma.decide(pair.provider, pair.client).mapType === "not-supported",
      mutant: (pair) => logsTheHost(pair, pair.verbose, true),
      right: (pair) => logsTheHost(pair, pair.verbose, false),
    }),
  ),
  entry(
    {
      id: "B48",
      title: "Both-hosts rule",
      trigger: "two host bridges, one of them listed",
      wrong: "accepted where either is listed",
      right: "both listed, neither for itself alone",
      rule: "p2pdma R16",
      evidence: "inferred",
    },
    decides("thru-host-bridge, not not-supported", { eitherHost: true }),
  ),
  entry(
    {
      id: "B49",
      title: "bus_offset: sign, or left out",
      trigger: "a host window whose bus and CPU addresses differ, switch-local pair",
      wrong: "the peer gets the CPU's address, or one on the other side",
      right: "CPU address plus (bus - CPU)",
      rule: "p2pdma R3, R5",
      evidence: "inferred",
    },
    exporterFails("map/bytes-arrive", onBus("mutant", 0n), onBus("vfio-pci, switch-local", OFFSET)),
    exporterFails(
      "map/bytes-arrive",
      onBus("mutant", -OFFSET),
      onBus("vfio-pci, switch-local", OFFSET),
    ),
  ),
  entry(
    {
      id: "B50",
      title: "Config space that cannot be read taken for no ACS",
      trigger: "read 64 bytes without privilege",
      wrong: "BUS_ADDR",
      right: "unknown",
      rule: "p2pdma R29",
      evidence: "inferred; user space",
    },
    decides("ACS not readable", { unknownIsNone: true }),
  ),
];

function onBus(name: string, claimedBusOffset: bigint) {
  return vfioSubject(name, { route: "bus-addr", busOffset: OFFSET, claimedBusOffset });
}

let after: { fresh: P2pdma; linux: P2pdma; ideal: P2pdma } | undefined;

function afterwards(): { fresh: P2pdma; linux: P2pdma; ideal: P2pdma } {
  if (after === undefined) {
    const ideal = afterChange("ideal");
    after = { ideal, linux: afterChange("linux"), fresh: ideal.copy() };
  }
  return after;
}
