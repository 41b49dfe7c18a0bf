import {
  type AcsInfo,
  judgeHostBridge,
  type MapType,
  type P2pdma,
  type PciTopology,
} from "@peerbar/p2pdma";

/** What the decision may get wrong. */
export interface DeciderDefects {
  /** Which ACS bits count as redirecting; 0x2c is right. */
  readonly mask?: number;
  /** Which part of the way is looked at; all of it is right. */
  readonly looks?: "common-port" | "endpoints";
  /** One listed host bridge of two is enough. */
  readonly eitherHost?: boolean;
  /** ACS that cannot be read counts as none. */
  readonly unknownIsNone?: boolean;
}

/** The kernel's decision in its own words, as small as it can be: calc_map_type_and_dist() over a topology (p2pdma section 3). */
export class Decider {
  readonly #p2pdma: P2pdma;
  readonly #topology: PciTopology;
  readonly #defects: DeciderDefects;

  /** @param p2pdma - for the machine and its present ACS state alone. */
  constructor(p2pdma: P2pdma, defects: DeciderDefects = {}) {
    this.#p2pdma = p2pdma;
    this.#topology = p2pdma.topology;
    this.#defects = defects;
  }

  mapType(provider: number, client: number): MapType | "unknown" {
    const [up, down] = [this.#chain(provider), this.#chain(client)];
    const common = up.find((index) => down.includes(index));
    if (common === undefined) return this.#throughHosts(provider, client);
    const counted = this.#counted(
      [...up.slice(0, up.indexOf(common) + 1), ...down.slice(0, down.indexOf(common))],
      common,
      [provider, client],
    );
    const redirects = counted.map((index) => this.#redirects(this.#p2pdma.acsOf(index)));
    if (redirects.includes(true)) return this.#throughHosts(provider, client);
    return redirects.includes(undefined) ? "unknown" : "bus-addr";
  }

  #counted(way: readonly number[], common: number, ends: readonly number[]): readonly number[] {
    const { looks } = this.#defects;
    if (looks === undefined) return way;
    return way.filter((index) =>
      looks === "common-port" ? index === common : ends.includes(index),
    );
  }

  #redirects(acs: AcsInfo): boolean | undefined {
    if (acs.state === "none") return false;
    if (acs.state === "unknown") return this.#defects.unknownIsNone === true ? false : undefined;
    return (acs.control & (this.#defects.mask ?? 0x2c)) !== 0;
  }

  /** The function and every bridge above it; a virtual function hangs where its physical one does. */
  #chain(start: number): number[] {
    const chain: number[] = [];
    for (let at = start; at >= 0; ) {
      chain.push(at);
      const { parent, physfn } = this.#topology.at(at);
      at = physfn >= 0 ? this.#topology.at(physfn).parent : parent;
    }
    return chain;
  }

  #throughHosts(provider: number, client: number): MapType | "unknown" {
    const { cpu } = this.#p2pdma;
    if (cpu === "amd-zen") return "thru-host-bridge";
    const [a, b] = [provider, client].map((index) => this.#topology.at(index).hostBridge);
    const hosts = [a, b].map((host) => judgeHostBridge(this.#topology, host ?? -1));
    if (hosts.some(({ listed }) => listed === undefined)) return "unknown";
    const same = a === b;
    const fits = hosts.map(({ listed, sameOnly }) => listed === true && (same || !sameOnly));
    const allowed = this.#defects.eitherHost === true ? fits.includes(true) : !fits.includes(false);
    return allowed ? "thru-host-bridge" : "not-supported";
  }
}
