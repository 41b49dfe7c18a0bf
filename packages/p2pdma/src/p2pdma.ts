import { addressKey } from "./address.js";
import { isSharable } from "./bars.js";
import { BUS_ADDR, Chains, NOT_SUPPORTED, newWalk, THRU_HOST_BRIDGE, type Walk } from "./chains.js";
import { inferCpu } from "./cpu.js";
import {
  type MapType,
  type P2pdmaDecision,
  type P2pdmaProvider,
  type PathStep,
  type ProviderBar,
  trustRisk,
} from "./decision.js";
import { type HostBridgeVerdict, judgeHostBridge } from "./host-bridge-list.js";
import type { FunctionRef, PciTopology } from "./pci-topology.js";
import { explain } from "./reason.js";
import { ACS_REDIRECT, type AcsInfo, type CpuKind } from "./topology.js";

/** What the topology does not say, and how closely the kernel is followed. */
export interface P2pdmaOptions {
  /** Default: what {@link inferCpu} finds, which may be `unknown`. */
  readonly cpu?: CpuKind;
  /**
   * `ideal` (default): every answer is computed from the present state. `linux`: `mapType` answers from the kernel's cache, stale
   * answers included (p2pdma R20-R22).
   */
  readonly mode?: "ideal" | "linux";
  /**
   * Host bridges to treat as listed, against the kernel: all, or those with these root buses (`0000:80`). Answers that rest on it have
   * a `risk`.
   */
  readonly trust?: "all" | readonly string[];
}

/** The map types in a set of bits, best first. */
export function mapTypesOf(set: number): MapType[] {
  const types: MapType[] = [];
  if ((set & BUS_ADDR) !== 0) types.push("bus-addr");
  if ((set & THRU_HOST_BRIDGE) !== 0) types.push("thru-host-bridge");
  if ((set & NOT_SUPPORTED) !== 0) types.push("not-supported");
  return types;
}

const noHost: HostBridgeVerdict = {
  root: "?",
  key: undefined,
  keyId: undefined,
  listed: undefined,
  sameOnly: false,
  why: "the input shows no host bridge",
};

/**
 * Answers for the pairs of one machine, as Linux decides them.
 *
 * @see Linux 7.2 drivers/pci/p2pdma.c: calc_map_type_and_dist(), pci_p2pdma_map_type(), pci_p2pdma_distance_many()
 */
export class P2pdma {
  readonly topology: PciTopology;
  readonly cpu: CpuKind;
  readonly mode: "ideal" | "linux";
  readonly #trust: P2pdmaOptions["trust"];
  readonly #acs = new Map<number, AcsInfo>();
  #chains: Chains;
  readonly #walk: Walk = newWalk();
  /** Provider index to (client key to map type): p2pdma R20. */
  readonly #cache = new Map<number, Map<number, MapType>>();
  readonly #released = new Set<number>();

  /** @param topology - is not changed: {@link setAcs} and the other changes stay in this object */
  constructor(topology: PciTopology, options: P2pdmaOptions = {}) {
    this.topology = topology;
    this.cpu = options.cpu ?? inferCpu(topology).cpu;
    this.mode = options.mode ?? "ideal";
    this.#trust = options.trust;
    this.#chains = this.#newChains();
  }

  #newChains(): Chains {
    return new Chains(this.topology, this.cpu, { acs: this.#acs, trust: this.#trust });
  }

  /** The same machine in its present ACS state, as an independent object without cached answers; other options where given. */
  copy(options: P2pdmaOptions = {}): P2pdma {
    const own = { cpu: this.cpu, mode: this.mode };
    const trust = this.#trust === undefined ? {} : { trust: this.#trust };
    const copy = new P2pdma(this.topology, { ...own, ...trust, ...options });
    for (const [index, acs] of this.#acs) copy.#acs.set(index, acs);
    copy.#chains = copy.#newChains();
    return copy;
  }

  /** The chains behind the answers, for code that asks for many pairs. Replaced by {@link setAcs}. */
  get chains(): Chains {
    return this.#chains;
  }

  /** ACS of a function as it is now. */
  acsOf(ref: FunctionRef): AcsInfo {
    const index = this.topology.resolve(ref);
    return this.#acs.get(index) ?? this.topology.at(index).acs;
  }

  /**
   * Changes a function's ACS at run time, as `setpci` or a driver does. In `linux` mode answers already cached stay (p2pdma R21).
   * @throws DmaBufError `ENODEV` when there is no such function
   */
  setAcs(ref: FunctionRef, acs: AcsInfo): void {
    this.#acs.set(this.topology.resolve(ref), acs);
    this.#chains = this.#newChains();
  }

  /**
   * Decides one ordered pair from the present state, never from the cache.
   * @throws DmaBufError `ENODEV` when a function is not in the topology
   */
  decide(provider: FunctionRef, client: FunctionRef): P2pdmaDecision {
    const p = this.topology.resolve(provider);
    const c = this.topology.resolve(client);
    const chains = this.#chains;
    const walk = chains.walk(p, c, this.#walk);
    const set = chains.possible(p, c, walk);
    const possible = mapTypesOf(set);
    const [asShown = "not-supported"] = mapTypesOf(chains.asShown(p, c, walk));
    const certain = possible.length === 1;
    const paths = this.#paths(p, c, walk.common);
    const counted = walk.common >= 0 ? [...paths.up, ...paths.down] : [];
    const unknown = counted.filter((step) => step.redirects === undefined);
    const hosts = this.#hostsOf(p, c);
    const sameHost = chains.host[p] === chains.host[c];
    const needsHost = (set & ~BUS_ADDR) !== 0 && !certain;
    const allowed = needsHost
      ? chains.listAllows(chains.host[p] ?? -1, chains.host[c] ?? -1)
      : true;
    const listUnknown = allowed === undefined && this.cpu !== "amd-zen";
    const facts = {
      provider: this.topology.at(p).address,
      client: this.topology.at(c).address,
      mapType: certain ? asOnly(possible) : ("unknown" as const),
      ...(certain ? {} : { possible }),
      mapTypeAsShown: asShown,
      distance: walk.up + walk.down,
      ...(this.#hidesSteps(p, c, walk.common) ? { distanceAtLeast: true as const } : {}),
      acsRedirect: addresses(counted.filter((step) => step.redirects === true)),
      ...(unknown.length > 0 ? { acsUnknown: addresses(unknown) } : {}),
      ...(listUnknown ? { hostBridgeUnknown: true as const } : {}),
      ...(allowed !== true && this.cpu === "unknown" ? { cpuUnknown: true as const } : {}),
      ...(walk.hidden && walk.common >= 0 ? { bridgeHidden: true as const } : {}),
      commonAncestor: this.topology.functions[walk.common]?.address,
      upPath: paths.up,
      downPath: paths.down,
      hostBridges: hosts,
      cpu: this.cpu,
      ...this.#risk(possible, p, c),
    };
    const { reason, rule } = explain({
      ...facts,
      underRootPort: this.topology.functions[walk.common]?.portType === "root-port",
      sameHostBridge: sameHost,
      rootsHidden: walk.hidden && walk.common < 0,
    });
    return { ...facts, reason, rule };
  }

  /**
   * What the kernel answers when a driver maps the provider's memory for a device (p2pdma R18). `client` undefined: a device that is
   * no PCI function, such as /dev/iommu: always `not-supported`.
   *
   * In `linux` mode the first answer for a pair stays until {@link distance} is asked for it or the provider is released.
   * @throws DmaBufError `ENODEV` when a function is not in the topology
   */
  mapType(provider: FunctionRef, client: FunctionRef | undefined): MapType | "unknown" {
    const p = this.topology.resolve(provider);
    if (client === undefined || this.#released.has(p)) return "not-supported";
    const c = this.topology.resolve(client);
    if (this.mode === "linux") {
      const cached = this.#cache.get(p)?.get(this.#key(c));
      if (cached !== undefined) return cached;
    }
    return this.#compute(p, c).mapType;
  }

  /**
   * Distance from a provider to all clients, summed; -1 when there are none, one is no PCI function, or one cannot reach it
   * (p2pdma R19). Always computes anew and refreshes the cache. An `unknown` pair counts as its best guess.
   */
  distance(provider: FunctionRef, clients: readonly (FunctionRef | undefined)[]): number {
    const p = this.topology.resolve(provider);
    if (clients.length === 0 || this.#released.has(p)) return -1;
    let sum = 0;
    for (const client of clients) {
      if (client === undefined) return -1;
      const c = this.topology.resolve(client);
      const { mapType, distance } = this.#compute(p, c);
      const asShown = mapType === "unknown" ? this.#asShown(p, c) : mapType;
      if (asShown === "not-supported") return -1;
      sum += distance;
    }
    return sum;
  }

  /** Provider state goes away with the driver (p2pdma R6): answers are `not-supported` until {@link init}, the cache is empty. */
  release(provider: FunctionRef): void {
    const p = this.topology.resolve(provider);
    this.#released.add(p);
    this.#cache.delete(p);
  }

  /** Provider state is set up, as by pcim_p2pdma_init() (p2pdma R1). Twice is harmless; every function starts set up. */
  init(provider: FunctionRef): void {
    this.#released.delete(this.topology.resolve(provider));
  }

  /**
   * The provider slot of a BAR; undefined for I/O, absent and unassigned BARs, the ROM, and a released provider (p2pdma R2, R4).
   * @throws DmaBufError `ENODEV` when the function is not in the topology
   */
  provider(ref: FunctionRef, bar: number): P2pdmaProvider | undefined {
    const index = this.topology.resolve(ref);
    const fn = this.topology.at(index);
    const info = fn.bars[bar];
    if (info === undefined || !isSharable(info) || this.#released.has(index)) return undefined;
    return {
      owner: fn.address,
      bar,
      busOffset: BigInt.asUintN(64, info.busStart - info.start),
    };
  }

  /** Bytes from a CPU physical address in a BAR to its bus address, wrapping at 64 bits (p2pdma R3). 0 where there is no provider. */
  busOffset(ref: FunctionRef, bar: number): bigint {
    return this.provider(ref, bar)?.busOffset ?? 0n;
  }

  /** Where the pair goes through host bridges that only an override trusts. */
  #risk(possible: readonly MapType[], p: number, c: number): { readonly risk?: string } {
    if (this.cpu === "amd-zen" || !possible.includes("thru-host-bridge")) return {};
    const { host, hosts } = this.#chains;
    const forced = [host[p] ?? -1, host[c] ?? -1].filter((at) => hosts[at]?.forced === true);
    if (forced.length === 0) return {};
    return { risk: trustRisk(forced.map((at) => judgeHostBridge(this.topology, at))) };
  }

  /**
   * Whether a function has anything to share, a memory BAR with an address (p2pdma R2, R4); undefined where the input does not show it.
   * @throws DmaBufError `ENODEV` when the function is not in the topology
   */
  canProvide(ref: FunctionRef): boolean | undefined {
    const fn = this.topology.at(ref);
    if (fn.bars.some((bar) => bar !== undefined && isSharable(bar))) return true;
    return fn.noMemoryBars === true ? false : undefined;
  }

  /**
   * All BARs of a function, and which of them peers can be given: memory BARs only, never the ROM (p2pdma R2).
   * @throws DmaBufError `ENODEV` when the function is not in the topology
   */
  providerBars(ref: FunctionRef): ProviderBar[] {
    const fn = this.topology.at(ref);
    return fn.bars.flatMap((bar): ProviderBar[] => {
      if (bar === undefined) return [];
      const provider = this.provider(fn, bar.index);
      return [{ bar, isProvider: provider !== undefined, busOffset: provider?.busOffset ?? 0n }];
    });
  }

  #compute(p: number, c: number): { mapType: MapType | "unknown"; distance: number } {
    const walk = this.#chains.walk(p, c, this.#walk);
    const distance = walk.up + walk.down;
    const possible = mapTypesOf(this.#chains.possible(p, c, walk));
    if (possible.length !== 1) return { mapType: "unknown", distance };
    const mapType = asOnly(possible);
    if (this.mode === "linux") {
      const row = this.#cache.get(p) ?? new Map<number, MapType>();
      this.#cache.set(p, row);
      row.set(this.#key(c), mapType);
    }
    return { mapType, distance };
  }

  #asShown(p: number, c: number): MapType {
    return asOnly(mapTypesOf(this.#chains.asShown(p, c, this.#chains.walk(p, c, this.#walk))));
  }

  #key(client: number): number {
    return addressKey(this.topology.at(client));
  }

  #hostsOf(p: number, c: number): readonly [HostBridgeVerdict, HostBridgeVerdict] {
    const { host, hosts } = this.#chains;
    return [hosts[host[p] ?? -1] ?? noHost, hosts[host[c] ?? -1] ?? noHost];
  }

  /** True where the ways to the common function, or to the root buses, may be longer than the input shows. */
  #hidesSteps(p: number, c: number, common: number): boolean {
    const { gap, up, host } = this.#chains;
    return [p, c].some((end) => {
      for (let at = end; at >= 0 && at !== common; at = up[at] ?? -1) {
        if (gap[at] === 1) return true;
      }
      const root = this.topology.hostBridges[host[end] ?? -1];
      // Nothing forwards to bus 00: what sits there sits on a root bus.
      return common < 0 && root?.complete !== true && root?.bus !== 0;
    });
  }

  #paths(p: number, c: number, common: number): { up: PathStep[]; down: PathStep[] } {
    const up: PathStep[] = [];
    const down: PathStep[] = [];
    const chain = this.#chains.up;
    let at = p;
    for (; at >= 0 && at !== common; at = chain[at] ?? -1) up.push(this.#step(at));
    if (common >= 0) up.push(this.#step(common));
    for (at = c; at >= 0 && at !== common; at = chain[at] ?? -1) down.push(this.#step(at));
    return { up, down };
  }

  #step(index: number): PathStep {
    const fn = this.topology.at(index);
    const acs = this.#acs.get(index) ?? fn.acs;
    const redirects =
      acs.state === "unknown"
        ? undefined
        : acs.state === "present" && (acs.control & ACS_REDIRECT) !== 0;
    return { address: fn.address, acs, redirects };
  }
}

function addresses(steps: readonly PathStep[]): string[] {
  return steps.map((step) => step.address);
}

function asOnly(types: readonly MapType[]): MapType {
  return types[0] ?? "not-supported";
}
