import type { HostBridgeInfo, PciBarInfo, PciFunctionInfo } from "@peerbar/p2pdma";

/** The part of `PciTopology` that a machine is built from. */
export interface MachineTopology {
  readonly functions: readonly PciFunctionInfo[];
  readonly hostBridges: readonly HostBridgeInfo[];
  /** Index of the function at an address, -1 where there is none. */
  indexOf(address: string): number;
  readonly machine?: { readonly cpu: string } | undefined;
}

/** A BAR that has its place. Addresses in bytes. */
export interface PlacedBar {
  readonly index: number;
  readonly bus: bigint;
  readonly cpu: bigint;
  readonly length: bigint;
  readonly is64Bit: boolean;
  readonly prefetchable: boolean;
}

/** What a bridge forwards downstream: bus addresses, whole megabytes, both ends included. */
export interface Window {
  readonly kind: "memory" | "prefetchable";
  readonly first: bigint;
  readonly last: bigint;
}

/** A stretch of CPU physical addresses that a host bridge passes to its root bus. */
export interface Aperture {
  /** Index into the topology's host bridges. */
  readonly hostBridge: number;
  readonly cpu: bigint;
  readonly length: bigint;
  /** Bus address minus CPU address (p2pdma R3). */
  readonly busOffset: bigint;
}

/** What kind of gap of the topology was filled, or left out. */
export type NoteKind =
  | "bar-size-unknown"
  | "bar-moved"
  | "bar-unassigned"
  | "acs-unknown"
  | "acs-capability-unknown"
  | "egress-vector-unknown"
  | "port-type-guessed"
  | "bridge-missing";

/** Where the machine is not what the topology shows, or fills in what it does not show. */
export interface MachineNote {
  readonly kind: NoteKind;
  /** One sentence. */
  readonly text: string;
  /** The functions it is about, by address. */
  readonly functions: readonly string[];
}

/** Where everything is: the answer of {@link assignAddresses}. Arrays are by function index. */
export interface Layout {
  readonly bars: readonly (readonly PlacedBar[])[];
  readonly windows: readonly (readonly Window[])[];
  readonly apertures: readonly Aperture[];
  /** For each host bridge the stretches of bus addresses behind it: what the IOMMU never hands out (dma-iova R19). */
  readonly reserved: readonly (readonly BusSpan[])[];
  readonly notes: readonly MachineNote[];
}

/** Bus addresses, both ends included. */
export interface BusSpan {
  readonly first: bigint;
  readonly last: bigint;
}

/** Size of a BAR that the topology does not show, in bytes; undefined leaves the BAR out. */
export type BarLengths = (fn: PciFunctionInfo, bar: PciBarInfo) => bigint | undefined;

export const MIB = 0x10_0000n;
export const FOUR_GIB = 0x1_0000_0000n;

/** Rounds up to a multiple of `align`, a power of two. */
export function alignUp(value: bigint, align: bigint): bigint {
  return (value + align - 1n) & ~(align - 1n);
}

/** Smallest power of two that is not below `value`. */
export function powerOfTwo(value: bigint): bigint {
  let power = 1n;
  while (power < value) power <<= 1n;
  return power;
}

export function overlaps(a: BusSpan, b: BusSpan): boolean {
  return a.first <= b.last && b.first <= a.last;
}

export function contains(outer: BusSpan, inner: BusSpan): boolean {
  return outer.first <= inner.first && inner.last <= outer.last;
}

/** True where no two of the spans share an address. */
export function disjoint(spans: readonly BusSpan[]): boolean {
  const sorted = sortSpans(spans);
  return sorted.every((span, i) => {
    const next = sorted[i + 1];
    return next === undefined || span.last < next.first;
  });
}

export function sortSpans<T extends BusSpan>(spans: readonly T[]): T[] {
  return [...spans].sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
}

/** Lowest aligned place for `size` bytes in `within` that touches none of `taken`; undefined where there is none. */
export function findGap(
  within: BusSpan,
  taken: readonly BusSpan[],
  size: bigint,
  align: bigint,
): bigint | undefined {
  let at = alignUp(within.first, align);
  for (const span of sortSpans(taken)) {
    if (span.last < at) continue;
    if (at + size <= span.first) break;
    at = alignUp(span.last + 1n, align);
  }
  return at + size - 1n <= within.last ? at : undefined;
}
