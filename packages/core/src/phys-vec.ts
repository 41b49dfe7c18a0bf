import { type DmaAddr, hex, isPageAligned, type PhysRange, toPfn } from "./address.js";
import type { DmaDevice, DmaDirection, DmaMapper, IovaState } from "./dma-device.js";
import { DmaBufError, ProtocolViolation } from "./error.js";
import { type PageSpan, ScatterTable } from "./scatter-table.js";

/**
 * How a peer's DMA reaches the exporter's ranges: `bus` switch-local, by bus address; `host-bridge` through the root complex, by an
 * ordinary DMA mapping. What {@link mapPhysVec} needs of the p2pdma verdict.
 */
export type PhysVecRoute =
  | { readonly kind: "bus"; readonly busOffset: bigint }
  | { readonly kind: "host-bridge" };

/**
 * A table together with what undoes it. Made by {@link mapPhysVec} or {@link linkPhysVec}, or by an exporter with an IOVA policy of its
 * own; ended by {@link unmapPhysVec}, once.
 */
export class PhysVecTable extends ScatterTable {
  /** "bus", "host-bridge-iova" (one span) or "host-bridge-dma" (range by range). */
  readonly via: "bus" | "host-bridge-iova" | "host-bridge-dma";
  /** What {@link unmapPhysVec} runs; undefined where nothing was taken. */
  readonly undo: (() => void) | undefined;

  /** Shares the arrays of `table`. `undo` gives back what the mapping took; it runs once at most. */
  constructor(via: PhysVecTable["via"], table: ScatterTable, undo: (() => void) | undefined) {
    super(table.space, table.pfns, table.pages);
    this.via = via;
    this.undo = undo;
  }
}

/**
 * Physical ranges to a DMA list for one device: the kernel's `dma_buf_phys_vec_to_sgt` with its unwinding done right (dma-iova R31):
 * links run at the running offset, a failure gives back exactly what was taken.
 *
 * @throws DmaBufError EINVAL for an empty list or a range that is not whole pages (dma-buf R23); ENOMEM, EADDRINUSE, EEXIST from the mapper; EOPNOTSUPP where the device cannot map.
 */
export function mapPhysVec(
  device: DmaDevice,
  route: PhysVecRoute,
  ranges: readonly PhysRange[],
  direction: DmaDirection,
): PhysVecTable {
  checkRanges(ranges);
  if (route.kind === "bus") {
    const spans = ranges.map((range) => span(range.start + route.busOffset, range.length));
    return new PhysVecTable("bus", ScatterTable.fromSpans("bus", spans), undefined);
  }
  const { dma } = device;
  if (dma === undefined) {
    throw new DmaBufError("EOPNOTSUPP", "dmabuf.map", `${device.name} has no DMA mapper`, {
      hint: "use an importer that opens the buffer by another interconnect",
    });
  }
  const size = ranges.reduce((sum, range) => sum + range.length, 0n);
  const state = dma.tryAllocIova(size);
  if (state === undefined) return mapRanges(dma, ranges, direction);
  try {
    return linkPhysVec(dma, state, ranges, direction, () => {
      dma.destroy(state, size);
    });
  } catch (error) {
    // Not destroy of what was linked: that frees by the mapped size, which may land in a smaller size class (dma-iova R20).
    dma.free(state);
    throw error;
  }
}

/**
 * All ranges into one reserved IOVA span, in the order given, each at the running offset (dma-iova R29): the second half of
 * {@link mapPhysVec}, for exporters that reserve at another time than they map. A failure unlinks exactly what was linked.
 *
 * @param state - the reservation, as long as all ranges together. It stays the caller's.
 * @param undo - what {@link unmapPhysVec} runs: unlink where the reservation lives on, destroy where it ends with the mapping.
 * @throws DmaBufError EINVAL as {@link mapPhysVec}; ENOMEM, EADDRINUSE, EEXIST from the mapper.
 */
export function linkPhysVec(
  dma: DmaMapper,
  state: IovaState,
  ranges: readonly PhysRange[],
  direction: DmaDirection,
  undo: () => void,
): PhysVecTable {
  checkRanges(ranges);
  let linked = 0n;
  try {
    for (const range of ranges) {
      dma.link(state, linked, range, direction);
      linked += range.length;
    }
    dma.sync(state, 0n, linked);
    const table = ScatterTable.fromSpans("iova", [span(state.address, linked)]);
    return new PhysVecTable("host-bridge-iova", table, undo);
  } catch (error) {
    if (linked > 0n) dma.unlink(state, 0n, linked);
    throw error;
  }
}

/**
 * Undoes {@link mapPhysVec}. A table that needs nothing undone (bus addresses) is fine.
 *
 * @throws ProtocolViolation for a table that was unmapped before: its IOVA may have another owner by now (dma-buf R25).
 */
export function unmapPhysVec(table: ScatterTable): void {
  if (!(table instanceof PhysVecTable)) return;
  if (unmapped.has(table)) {
    throw new ProtocolViolation("dma-buf R25", "dmabuf.unmap", "this table was unmapped before");
  }
  table.undo?.();
  unmapped.add(table);
}

const unmapped = new WeakSet<PhysVecTable>();

function checkRanges(ranges: readonly PhysRange[]): void {
  if (ranges.length === 0) throw new DmaBufError("EINVAL", "dmabuf.map", "no ranges");
  for (const { start, length } of ranges) {
    if (length > 0n && isPageAligned(start) && isPageAligned(length)) continue;
    throw new DmaBufError("EINVAL", "dmabuf.map", `range ${hex(start)}+${hex(length)}`, {
      rule: "dma-buf R23",
    });
  }
}

/** Range by range; a failure unmaps exactly those already mapped (dma-iova R31 d). */
function mapRanges(
  dma: DmaMapper,
  ranges: readonly PhysRange[],
  direction: DmaDirection,
): PhysVecTable {
  const mapped: { address: DmaAddr; length: bigint }[] = [];
  const undo = (): void => {
    for (const { address, length } of mapped) dma.unmapPhys(address, length, direction);
  };
  try {
    for (const range of ranges) {
      mapped.push({ address: dma.mapPhys(range, direction), length: range.length });
    }
    const spans = mapped.map(({ address, length }) => span(address, length));
    return new PhysVecTable("host-bridge-dma", ScatterTable.fromSpans(dma.space, spans), undo);
  } catch (error) {
    undo();
    throw error;
  }
}

function span(start: bigint, length: bigint): PageSpan {
  return { pfn: toPfn(BigInt.asUintN(64, start)), pages: toPfn(length) };
}
