import type { DmaCompletion, ObjectWatch } from "@peerbar/core";
import type { SimBar } from "../bar.js";
import type { SparseMemory } from "../sparse-memory.js";
import { forwardsUpstream, peerVerdict, redirectsCompletions, violates } from "./acs.js";
import type { Bus, Claim, FabricNode } from "./node.js";
import { covers, distance, type RangeTable, type Span } from "./range-table.js";
import type { SystemRegion } from "./system-map.js";

/** How a request on the bus ended. */
export type TransferStatus = DmaCompletion["status"];

/** What a host bridge does with a request that goes down again to a device. */
export type HostBridgeForwarding = "forward" | "block" | "corrupt";

/** One memory request, or a run of them. */
export interface Request {
  readonly from: FabricNode;
  /** Bus number in the requester ID; the function's own unless it lies. */
  readonly requesterBus: number;
  readonly write: boolean;
  /** Address type "translated": the function got the address from the IOMMU before (ATS). */
  readonly translated: boolean;
}

/** Which way a request went. */
export type Route = "peer" | "host-bridge" | "memory";

/** Where a request ended. One object for the whole machine: read it before the next request. */
export interface Hit {
  memory: SparseMemory | undefined;
  /** Undefined for host memory. */
  bar: SimBar | undefined;
  /** Function that owns the BAR. */
  node: FabricNode | undefined;
  /** Bytes from the start of {@link memory}. */
  offset: number;
  /** Bytes that share this end, at most what was asked for. */
  length: number;
  route: Route;
  /** The host bridge spoils what it forwards. */
  corrupt: boolean;
  /** Bridges and host bridges that the request went through, in order. */
  readonly path: string[];
  /** The answer to a peer's read goes up to the root complex and down again (ACS completion redirect). */
  completionRedirected: boolean;
}

/**
 * Routes memory requests as PCI Express does, from the registers of the ports and nothing else. Knows no verdict of p2pdma:
 * it is what such verdicts are tested against.
 */
export class Fabric {
  readonly hit: Hit = {
    memory: undefined,
    bar: undefined,
    node: undefined,
    offset: 0,
    length: 0,
    route: "peer",
    corrupt: false,
    path: [],
    completionRedirected: false,
  };
  readonly #map: RangeTable<SystemRegion>;
  /** Stands for the registers of all functions: where a request ends may hang on any of them. */
  readonly #registers: ObjectWatch | undefined;
  readonly #forwarding: (from: number, to: number) => HostBridgeForwarding;
  readonly #translated = { pfn: 0 };

  constructor(
    map: RangeTable<SystemRegion>,
    forwarding: (from: number, to: number) => HostBridgeForwarding,
    registers?: ObjectWatch,
  ) {
    this.#map = map;
    this.#registers = registers;
    this.#forwarding = forwarding;
  }

  /** Somebody is about to ask which way a request goes, or whether it is sent at all. */
  consult(): void {
    this.#registers?.touch(false);
  }

  /** A function's request for `length` bytes at `pfn`:`byte`. On "ok" {@link hit} says where it ended and how far that holds. */
  request(request: Request, pfn: number, byte: number, length: number): TransferStatus {
    const { hit } = this;
    hit.length = length;
    hit.route = "peer";
    hit.corrupt = false;
    hit.completionRedirected = false;
    hit.path.length = 0;
    let child = request.from;
    let { bus } = child;
    let redirected = false;
    while (bus.owner !== undefined) {
      const claim = bus.table.find(pfn, byte);
      this.#clip(bus.table.run);
      // A bridge's own window here means that the request comes out of it: it went up as redirected, and goes on.
      if (claim !== undefined && !(claim.node === child && child.isBridge)) {
        const verdict = peerVerdict(child, claim.node, request.translated);
        if (verdict === "direct") {
          if (!request.write) this.#answer(claim.node, bus);
          return this.#arrive(claim, pfn, byte);
        }
        if (verdict === "violation") return "completer-abort";
        redirected = true;
      }
      hit.path.push(bus.owner.name);
      const status = this.#ascend(bus.owner, request, pfn, byte, redirected);
      if (status !== "ok") return status;
      redirected = redirected || isInWindow(bus.owner, pfn, byte);
      child = bus.owner;
      bus = child.bus;
    }
    const own = child === request.from ? this.#ownBar(child, pfn, byte) : undefined;
    if (own !== undefined && peerVerdict(child, child, request.translated) === "direct") {
      return this.#arrive(own, pfn, byte);
    }
    return this.#rootComplex(request, bus, pfn, byte);
  }

  /** Completions of a peer read: the port or function on the completer's side decides which way they go. They always arrive. */
  #answer(completer: FabricNode, bus: Bus): void {
    if (!redirectsCompletions(completer)) return;
    const { hit } = this;
    hit.completionRedirected = true;
    hit.corrupt = this.#forwarding(bus.hostBridge, bus.hostBridge) === "corrupt";
  }

  /** A function on a root bus reaches its own BARs without leaving; its neighbours only through the root complex. */
  #ownBar(node: FabricNode, pfn: number, byte: number): Claim | undefined {
    const { table } = node.bus;
    const claim = table.find(pfn, byte);
    this.#clip(table.run);
    return claim?.node === node && claim.bar !== undefined ? claim : undefined;
  }

  /** The CPU's own access to a physical address: no IOMMU, no ACS. */
  cpuAccess(pfn: number, byte: number, length: number): boolean {
    this.consult();
    this.hit.length = length;
    this.hit.corrupt = false;
    this.hit.path.length = 0;
    return this.#system(pfn, byte, undefined) === "ok";
  }

  /** A bridge takes a request from its secondary side: may it go up? */
  #ascend(
    bridge: FabricNode,
    request: Request,
    pfn: number,
    byte: number,
    redirected: boolean,
  ): TransferStatus {
    if (!bridge.masters) return "unsupported-request";
    if (violates(bridge, request.requesterBus, request.translated)) return "completer-abort";
    if (!this.#inOwnWindow(bridge, pfn, byte)) return "ok";
    const { portType } = bridge;
    // The root complex decides itself what it turns round.
    if (portType === "root-port") return "ok";
    const forwards =
      (portType === "switch-downstream" && forwardsUpstream(bridge)) ||
      (portType === "switch-upstream" && redirected);
    // A conventional bridge forwards what is not in its windows, and nothing else.
    return forwards ? "ok" : "unsupported-request";
  }

  #rootComplex(request: Request, root: Bus, pfn: number, byte: number): TransferStatus {
    this.hit.path.push(root.name);
    const { port } = request.from;
    if (port === undefined || request.translated) return this.#system(pfn, byte, root);
    const pages = Math.ceil((byte + this.hit.length) / 4096);
    const translated = this.#translated;
    const granted = port.translate(pfn, pages, request.write, translated);
    if (granted <= 0) return "iommu-fault";
    this.#clip(granted * 4096 - byte);
    return this.#system(translated.pfn, byte, root);
  }

  /** By CPU physical address: host memory, or down a host bridge. `from` is undefined for the CPU. */
  #system(pfn: number, byte: number, from: Bus | undefined): TransferStatus {
    const region = this.#map.find(pfn, byte);
    this.#clip(this.#map.run);
    if (region === undefined) return "unsupported-request";
    const { hit } = this;
    if (region.kind === "ram") {
      hit.memory = region.memory;
      hit.bar = undefined;
      hit.node = undefined;
      hit.offset = distance(0, 0, pfn, byte);
      hit.route = "memory";
      return "ok";
    }
    if (from !== undefined) {
      const policy = this.#forwarding(from.hostBridge, region.bus.hostBridge);
      if (policy === "block") return "unsupported-request";
      hit.corrupt = policy === "corrupt";
      if (region.bus !== from) hit.path.push(region.bus.name);
    }
    hit.route = "host-bridge";
    const busPfn = pfn + region.busOffsetPages;
    const { table } = region.bus;
    const claim = table.find(busPfn, byte);
    this.#clip(table.run);
    return claim === undefined ? "unsupported-request" : this.#arrive(claim, busPfn, byte);
  }

  /** Down from a claim to the BAR: bridges forward what is in their windows. */
  #arrive(first: Claim, pfn: number, byte: number): TransferStatus {
    let claim = first;
    while (claim.bar === undefined) {
      this.hit.path.push(claim.node.name);
      const table = claim.node.below?.table;
      const next = table?.find(pfn, byte);
      this.#clip(table?.run ?? Infinity);
      if (next === undefined || next.node === claim.node) return "unsupported-request";
      claim = next;
    }
    const { hit } = this;
    const { live } = claim.bar;
    hit.memory = claim.bar.memory;
    hit.bar = claim.bar;
    hit.node = claim.node;
    hit.offset = distance(live.firstPfn, live.firstByte, pfn, byte);
    return "ok";
  }

  /** The answer depends on the window, so a run ends at its edge. */
  #inOwnWindow(bridge: FabricNode, pfn: number, byte: number): boolean {
    let inside = false;
    if (!bridge.decodes) return false;
    for (const window of bridge.windows) {
      if (covers(window, pfn, byte)) {
        inside = true;
        this.#clip(distance(pfn, byte, window.lastPfn, window.lastByte) + 1);
      } else {
        const before = distance(pfn, byte, window.firstPfn, window.firstByte);
        if (before > 0) this.#clip(before);
      }
    }
    return inside;
  }

  #clip(bytes: number): void {
    if (bytes < this.hit.length) this.hit.length = bytes;
  }
}

function isInWindow(bridge: FabricNode, pfn: number, byte: number): boolean {
  return bridge.decodes && bridge.windows.some((window: Span) => covers(window, pfn, byte));
}
