import {
  type Attachment,
  type DmaAddr,
  DmaBufError,
  type DmaDirection,
  type DmaMapper,
  type IovaState,
  iova,
  MAX_SEGMENT_BYTES,
  type PageSpan,
  PhysVecTable,
  ScatterTable,
  toPfn,
  unmapPhysVec,
} from "@peerbar/core";
import type { AttachKind } from "./attach-kind.js";
import { type BarSource, type IovaPolicy, mapAlone, routeOf } from "./iova-policy.js";

/**
 * What Linux 7.2.13 really does, defects included, for comparison with a real kernel (`quirks: "linux-7.2"`): every link at offset 0
 * (vfio-pci-dmabuf R36), an IOVA leaked when the list or the first link fails (R37), an unwind over entries that were never mapped, and
 * long ranges unmapped in pieces (R38), a partial destroy by the mapped size (R39).
 */
export class LinuxIova implements IovaPolicy {
  readonly #source: BarSource;

  constructor(source: BarSource) {
    this.#source = source;
  }

  kindOf(attachment: Attachment): AttachKind {
    return this.#source.provider.kindOf(attachment.device);
  }

  map(attachment: Attachment, direction: DmaDirection): ScatterTable {
    const source = this.#source;
    const { device } = attachment;
    const route = routeOf(source, attachment);
    const { dma } = device;
    if (route.kind === "bus" || dma === undefined) {
      source.allocate?.("sg-table");
      return mapAlone(source, device, route, direction);
    }
    const state = dma.tryAllocIova(source.size);
    // Here the kernel forgets the IOVA when the list cannot be had (R37).
    source.allocate?.("sg-table");
    return state === undefined
      ? mapRanges(dma, source, direction)
      : linkRanges(dma, state, source, direction);
  }

  unmap(_attachment: Attachment, table: ScatterTable): void {
    unmapPhysVec(table);
  }
}

function linkRanges(
  dma: DmaMapper,
  state: IovaState,
  { ranges, size }: BarSource,
  direction: DmaDirection,
): PhysVecTable {
  let linked = 0n;
  try {
    for (const range of ranges) {
      dma.link(state, 0n, range, direction);
      linked += range.length;
    }
    dma.sync(state, 0n, linked);
  } catch (error) {
    if (linked > 0n) dma.destroy(state, linked);
    throw error;
  }
  const table = ScatterTable.fromSpans("iova", [spanOf(state.address, size)]);
  return new PhysVecTable("host-bridge-iova", table, () => {
    dma.destroy(state, size);
  });
}

/** Each range at once, each list entry by itself on the way back. */
function mapRanges(dma: DmaMapper, { ranges }: BarSource, direction: DmaDirection): PhysVecTable {
  const spans: PageSpan[] = [];
  try {
    for (const range of ranges) spans.push(spanOf(dma.mapPhys(range, direction), range.length));
  } catch (error) {
    if (spans.length > 0) unwind(dma, spans, ranges.slice(spans.length), direction);
    throw error;
  }
  const table = ScatterTable.fromSpans(dma.space, spans);
  return new PhysVecTable("host-bridge-dma", table, () => {
    unmapEntries(dma, table, direction);
  });
}

function unwind(
  dma: DmaMapper,
  mapped: readonly PageSpan[],
  rest: readonly { readonly length: bigint }[],
  direction: DmaDirection,
): void {
  unmapEntries(dma, ScatterTable.fromSpans(dma.space, mapped), direction);
  const entry = BigInt(MAX_SEGMENT_BYTES);
  for (const { length } of rest) {
    const unfilled = (length + entry - 1n) / entry;
    for (let i = 0n; i < unfilled; i++) unmapNothing(dma, direction);
  }
}

/** Address 0, length 0: what an entry of a fresh list holds. A mapper that checks its callers may refuse; the walk goes on. */
function unmapNothing(dma: DmaMapper, direction: DmaDirection): void {
  try {
    dma.unmapPhys(iova(0n), 0n, direction);
  } catch (error) {
    if (!(error instanceof DmaBufError)) throw error;
  }
}

function unmapEntries(dma: DmaMapper, table: ScatterTable, direction: DmaDirection): void {
  for (const { address, length } of table) dma.unmapPhys(address, BigInt(length), direction);
}

function spanOf(address: DmaAddr, length: bigint): PageSpan {
  return { pfn: toPfn(address), pages: toPfn(length) };
}
