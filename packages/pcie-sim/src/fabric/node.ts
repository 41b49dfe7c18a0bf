import type { IommuPort } from "@peerbar/core";
import type { PortType } from "@peerbar/p2pdma";
import type { SimBar } from "../bar.js";
import { RangeTable, type Span } from "./range-table.js";

/** Addresses that somebody on a bus answers to: a BAR, or what a bridge forwards. */
export interface Claim extends Span {
  readonly node: FabricNode;
  /** Undefined for a bridge's window. */
  readonly bar: SimBar | undefined;
}

/** One PCI bus: the functions on it and the bridge that owns it; none on a root bus. */
export class Bus {
  readonly owner: FabricNode | undefined;
  /** Index of the host bridge at the top. */
  readonly hostBridge: number;
  /** `pci0000:3b` for a root bus, as sysfs has it; the bridge's address for others. */
  readonly name: string;
  readonly members: FabricNode[] = [];
  #table: RangeTable<Claim> | undefined;

  constructor(owner: FabricNode | undefined, hostBridge: number, name: string) {
    this.name = name;
    this.owner = owner;
    this.hostBridge = hostBridge;
  }

  /** Who answers now. The bridge above answers for its own BARs here too: requests from below reach them. */
  get table(): RangeTable<Claim> {
    this.#table ??= new RangeTable([
      ...this.members.flatMap((node) => node.claims()),
      ...(this.owner?.barClaims() ?? []),
    ]);
    return this.#table;
  }

  /** A register of somebody on this bus changed. */
  stale(): void {
    this.#table = undefined;
  }
}

/** The part of a function that the fabric looks at for every request: plain fields, kept up to date by the function's registers. */
export class FabricNode {
  readonly name: string;
  readonly portType: PortType | "none";
  /** Has a bus behind it. */
  readonly isBridge: boolean;
  /** Bus number of its requester ID. */
  readonly busNumber: number;
  readonly slot: number;
  readonly fn: number;
  readonly bus: Bus;
  readonly bars: readonly SimBar[];
  /** The bus behind a bridge. */
  below: Bus | undefined;
  /** Memory decode is on, the function has power, is there and not in reset: it answers to its BARs and windows. */
  decodes = false;
  /** Bus mastering is on and the function is awake: it may issue requests, and a bridge forwards them upstream. */
  masters = false;
  /** ACS control register. */
  acs = 0;
  egressVector = 0;
  secondaryBus = 0;
  subordinateBus = 0;
  /** Memory windows of a bridge, as its registers have them now. */
  windows: readonly Span[] = [];
  /** Where the function's untranslated requests go at the root complex; undefined without an IOMMU. */
  port: IommuPort | undefined;

  constructor(
    parts: Pick<
      FabricNode,
      "name" | "portType" | "isBridge" | "busNumber" | "slot" | "fn" | "bus" | "bars"
    >,
  ) {
    this.name = parts.name;
    this.portType = parts.portType;
    this.isBridge = parts.isBridge;
    this.busNumber = parts.busNumber;
    this.slot = parts.slot;
    this.fn = parts.fn;
    this.bus = parts.bus;
    this.bars = parts.bars;
  }

  /** Root ports and downstream switch ports: what ACS source validation, translation blocking and upstream forwarding are for. */
  get isDownstreamFacing(): boolean {
    return this.portType === "root-port" || this.portType === "switch-downstream";
  }

  claims(): Claim[] {
    if (!this.decodes) return [];
    const windows = this.windows.map((span) => ({ ...span, node: this, bar: undefined }));
    return [...this.barClaims(), ...windows];
  }

  barClaims(): Claim[] {
    if (!this.decodes) return [];
    return this.bars.map((bar) => ({ ...bar.live, node: this, bar }));
  }

  /** Registers changed: whoever routes by them looks again. */
  changed(): void {
    this.bus.stale();
    this.below?.stale();
  }
}
