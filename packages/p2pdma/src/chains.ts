import { DmaBufError } from "@peerbar/core";
import { cpuSupportsP2pdma } from "./cpu.js";
import { type HostBridgeVerdict, judgeHostBridge, listAllows } from "./host-bridge-list.js";
import type { PciTopology } from "./pci-topology.js";
import { ACS_REDIRECT, type AcsInfo, type CpuKind } from "./topology.js";

/** How a function's ACS counts on a path (p2pdma R7): number codes, for typed arrays. */
const acsStates = { passes: 0, redirects: 1, unknown: 2 } as const;

/** RR, CR or EC set: redirects. Only the control register counts, never the capability (p2pdma, section 1). */
function acsState(acs: AcsInfo): 0 | 1 | 2 {
  if (acs.state === "none") return acsStates.passes;
  if (acs.state === "unknown") return acsStates.unknown;
  return (acs.control & ACS_REDIRECT) === 0 ? acsStates.passes : acsStates.redirects;
}

/** Sets of map types as bits: what is possible, given what the input does not show. */
export const BUS_ADDR = 1;
export const THRU_HOST_BRIDGE = 2;
export const NOT_SUPPORTED = 4;

/** What two chains meet in, as numbers: the allocation-free core of the decision. Reused from call to call. */
export interface Walk {
  /** Function index of the first common device on both upstream chains; -1 without one. */
  common: number;
  /** Devices from the provider up to below the common one; without one, the whole chain. Likewise from the client. */
  up: number;
  down: number;
  redirects: number;
  unknowns: number;
  /** A bridge that the input does not show could be a nearer common one, or redirect. */
  hidden: boolean;
}

/** What differs from the topology. */
export interface ChainChanges {
  /** ACS of a function by index (run-time changes). */
  readonly acs?: ReadonlyMap<number, AcsInfo>;
  /** Host bridges taken as listed. */
  readonly trust?: "all" | readonly string[] | undefined;
}

function trusted(verdict: HostBridgeVerdict, trust: ChainChanges["trust"]): HostBridgeVerdict {
  const isTrusted = trust === "all" || trust?.includes(verdict.root) === true;
  if (!isTrusted || (verdict.listed === true && !verdict.sameOnly)) return verdict;
  const why = `host bridge ${verdict.root} is trusted by an override`;
  return { ...verdict, listed: true, sameOnly: false, why, forced: true };
}

/**
 * Upstream chains of every function as typed arrays, with running counts of redirecting ports: a pair costs the depth of its two
 * functions, whatever the machine's size.
 */
export class Chains {
  readonly topology: PciTopology;
  /** Index of the upstream bridge, through the PF for a VF (pci_upstream_bridge); -1 on a root bus. */
  readonly up: Int32Array;
  /** Devices on the chain, the function itself and the root-bus device included. */
  readonly depth: Int32Array;
  readonly state: Uint8Array;
  readonly host: Int32Array;
  /** 1: a bridge right above this function is not in the input. */
  readonly gap: Uint8Array;
  /** Redirecting, unknown and gap devices from the function itself up to the root. */
  readonly #redirects: Int32Array;
  readonly #unknowns: Int32Array;
  readonly #gaps: Int32Array;
  readonly hosts: readonly HostBridgeVerdict[];
  readonly #cpu: boolean | undefined;

  constructor(topology: PciTopology, cpu: CpuKind, changes: ChainChanges = {}) {
    this.topology = topology;
    const { functions } = topology;
    const n = functions.length;
    this.up = new Int32Array(n).fill(-1);
    this.depth = new Int32Array(n);
    this.state = new Uint8Array(n);
    this.host = new Int32Array(n).fill(-1);
    this.gap = new Uint8Array(n);
    this.#redirects = new Int32Array(n);
    this.#unknowns = new Int32Array(n);
    this.#gaps = new Int32Array(n);
    for (const [index, fn] of functions.entries()) {
      const pf = fn.physfn >= 0 ? functions[fn.physfn] : undefined;
      this.up[index] = (pf ?? fn).parent;
      this.gap[index] = (pf ?? fn).hiddenUpstream === true ? 1 : 0;
      this.host[index] = (pf ?? fn).hostBridge;
      this.state[index] = acsState(changes.acs?.get(index) ?? fn.acs);
    }
    for (let index = 0; index < n; index += 1) this.#measure(index);
    this.hosts = topology.hostBridges.map((_, index) =>
      trusted(judgeHostBridge(topology, index), changes.trust),
    );
    this.#cpu = cpuSupportsP2pdma(cpu);
  }

  /**
   * Fills in depth and counts of a function and of all above it that have none yet.
   * @throws DmaBufError `EINVAL` when the links of a hand-made topology go round in circles
   */
  #measure(index: number): void {
    const path: number[] = [];
    for (let at = index; at >= 0 && this.depth[at] === 0; at = this.up[at] ?? -1) {
      path.push(at);
      if (path.length > this.up.length) {
        const { address = "" } = this.topology.functions[index] ?? {};
        throw new DmaBufError("EINVAL", "p2pdma", `the bridges above ${address} form a loop`);
      }
    }
    for (const at of path.reverse()) {
      const above = this.up[at] ?? -1;
      const state = this.state[at];
      const count = (sums: Int32Array): number => (above < 0 ? 0 : (sums[above] ?? 0));
      this.depth[at] = count(this.depth) + 1;
      this.#redirects[at] = count(this.#redirects) + (state === acsStates.redirects ? 1 : 0);
      this.#unknowns[at] = count(this.#unknowns) + (state === acsStates.unknown ? 1 : 0);
      this.#gaps[at] = count(this.#gaps) + (this.gap[at] ?? 0);
    }
  }

  /** Walks a pair: distance and redirecting ports as calc_map_type_and_dist() counts them (p2pdma, section 3). */
  walk(provider: number, client: number, into: Walk): Walk {
    const depth = this.depth;
    const up = this.up;
    let a = provider;
    let b = client;
    let da = depth[a] ?? 0;
    let db = depth[b] ?? 0;
    while (da > db) {
      a = up[a] ?? -1;
      da -= 1;
    }
    while (db > da) {
      b = up[b] ?? -1;
      db -= 1;
    }
    // The chain just below the meeting point tells whether both sides went through the same gap.
    let belowA = -1;
    let belowB = -1;
    while (a !== b) {
      belowA = a;
      belowB = b;
      a = up[a] ?? -1;
      b = up[b] ?? -1;
      da -= 1;
    }
    into.common = a;
    into.up = (depth[provider] ?? 0) - (a < 0 ? 0 : da);
    into.down = (depth[client] ?? 0) - (a < 0 ? 0 : da);
    if (a < 0) {
      into.redirects = 0;
      into.unknowns = 0;
      into.hidden = this.#mayMeetAboveRoots(provider, client);
      return into;
    }
    into.redirects = between(this.#redirects, provider, client, a, this.state[a] === 1);
    into.unknowns = between(this.#unknowns, provider, client, a, this.state[a] === 2);
    const gaps = between(this.#gaps, provider, client, a, false);
    into.hidden = gaps > 0;
    if (gaps > 0 && this.#gapsMeet(provider, client, belowA, belowB, a)) {
      // They may meet below `a`: then what redirects at `a` and above the gap does not count.
      into.redirects = 0;
    }
    return into;
  }

  /** True when both sides enter the common ancestor through a gap: the hidden bridge may be shared. */
  #gapsMeet(provider: number, client: number, belowA: number, belowB: number, at: number): boolean {
    const enters = (from: number, below: number): boolean => {
      let last = below >= 0 ? below : from;
      while ((this.up[last] ?? -1) >= 0 && this.up[last] !== at) last = this.up[last] ?? -1;
      return this.up[last] === at && this.gap[last] === 1;
    };
    return provider !== client && enters(provider, belowA) && enters(client, belowB);
  }

  /** Two chains whose root bus the input does not show may hang below one bridge that it does not show either. */
  #mayMeetAboveRoots(provider: number, client: number): boolean {
    const { hostBridges } = this.topology;
    const a = hostBridges[this.host[provider] ?? -1];
    const b = hostBridges[this.host[client] ?? -1];
    if (a?.complete !== false || b?.complete !== false || a.domain !== b.domain) return false;
    // Nothing forwards to bus 00: what sits there sits on a root bus, whatever else of it is missing.
    return a.bus !== 0 || b.bus !== 0;
  }

  /** Whether list and CPU let the pair pass through its host bridges, as a set of map types. */
  hostTest(provider: number, client: number): number {
    if (this.#cpu === true) return THRU_HOST_BRIDGE;
    const allowed = this.listAllows(this.host[provider] ?? -1, this.host[client] ?? -1);
    if (allowed === true) return THRU_HOST_BRIDGE;
    if (allowed === undefined || this.#cpu === undefined) return THRU_HOST_BRIDGE | NOT_SUPPORTED;
    return NOT_SUPPORTED;
  }

  listAllows(hostA: number, hostB: number): boolean | undefined {
    const a = this.hosts[hostA];
    const b = this.hosts[hostB];
    if (a === undefined || b === undefined) return undefined;
    return listAllows(a, b, hostA === hostB);
  }

  /** Every map type that the pair may have, given what the input shows: one bit when it is certain. */
  possible(provider: number, client: number, walk: Walk): number {
    if (walk.common < 0) {
      const test = this.hostTest(provider, client);
      return walk.hidden ? BUS_ADDR | test : test;
    }
    if (walk.redirects > 0) return this.hostTest(provider, client);
    if (walk.unknowns > 0 || walk.hidden) return BUS_ADDR | this.hostTest(provider, client);
    return BUS_ADDR;
  }

  /** The answer with everything that the input does not show counted as: does not redirect, is not listed, is not there. */
  asShown(provider: number, client: number, walk: Walk): number {
    if (walk.common >= 0 && walk.redirects === 0) return BUS_ADDR;
    const allowed =
      this.#cpu === true ||
      this.listAllows(this.host[provider] ?? -1, this.host[client] ?? -1) === true;
    return allowed ? THRU_HOST_BRIDGE : NOT_SUPPORTED;
  }
}

/** Sum over both sides of a running count, the common device counted once. */
function between(
  sums: Int32Array,
  provider: number,
  client: number,
  common: number,
  commonCounts: boolean,
): number {
  const top = sums[common] ?? 0;
  return (sums[provider] ?? 0) + (sums[client] ?? 0) - 2 * top + (commonCounts ? 1 : 0);
}

export function newWalk(): Walk {
  return { common: -1, up: 0, down: 0, redirects: 0, unknowns: 0, hidden: false };
}
