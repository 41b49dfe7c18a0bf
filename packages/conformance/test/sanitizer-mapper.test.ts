import { Sanitizer, sanitize } from "@peerbar/conformance";
import { PhysicalMemory, SimpleIommu } from "@peerbar/conformance/reference";
import {
  busAddr,
  DmaBuf,
  type DmaMapper,
  type ExporterOps,
  type IovaState,
  type PhysRange,
  physAddr,
  ScatterTable,
} from "@peerbar/core";
import { describe, expect, it } from "vitest";

const NAME = "0000:03:00.0";
const SIZE = 0x2000n;
const way = "bidirectional";
const importer = { allowPeer2Peer: true, invalidateMappings: () => undefined };

function setUp() {
  const sanitizer = new Sanitizer();
  const client = { name: NAME, isPci: true, dmaMask: (1n << 64n) - 1n, reserved: [] };
  const { dma } = sanitize(new SimpleIommu(), sanitizer).connect(client);
  const range = new PhysicalMemory().allocate(SIZE);
  const reserve = (): IovaState => {
    const state = dma.tryAllocIova(2n * SIZE);
    if (state === undefined) throw new Error("no IOVA");
    return state;
  };
  const defects = () => sanitizer.reports.map(({ defect }) => defect);
  return { sanitizer, dma, range, reserve, defects };
}

/** A buffer whose exporter maps as told. */
function exportWith(map: () => ScatterTable, dma: DmaMapper, sanitizer: Sanitizer) {
  const ops: ExporterOps = {
    name: "as-told",
    offers: () => ["sgt"],
    map,
    unmap: () => undefined,
    release: () => undefined,
  };
  const buffer = sanitizer.buffer(DmaBuf.export({ ops, size: SIZE }));
  const device = { name: NAME, pciAddress: NAME, dmaMask: (1n << 64n) - 1n, dma };
  const attachment = buffer.attach(device, importer);
  using held = buffer.reservation.lockNow();
  return attachment.map(way, held);
}

const tableOf = (space: "bus" | "iova", address: bigint, pages: number): ScatterTable =>
  new ScatterTable(space, Float64Array.of(Number(address) / 4096), Uint32Array.of(pages));

describe("broken use of a mapper is reported by name", () => {
  it("dma-iova R9, R11: a link over another, and one outside the reservation", () => {
    const { dma, range, reserve, defects } = setUp();
    const state = reserve();
    dma.link(state, 0n, range, way);
    expect(() => {
      dma.link(state, 0n, range, way);
    }).toThrow();
    expect(defects()).toEqual(["iova-overlap"]);
    dma.link(state, 2n * SIZE, range, way);
    expect(defects()).toEqual(["iova-overlap", "iova-out-of-range"]);
  });

  it.each([
    ["sync of nothing", (dma: DmaMapper, state: IovaState) => dma.sync(state, 0n, 0n)],
    ["sync past the links", (dma: DmaMapper, state: IovaState) => dma.sync(state, 0n, 2n * SIZE)],
    ["unlink of a part", (dma: DmaMapper, state: IovaState) => dma.unlink(state, 0n, 0x1000n)],
    ["destroy of a part", (dma: DmaMapper, state: IovaState) => dma.destroy(state, 0x1000n)],
    ["free of what is linked", (dma: DmaMapper, state: IovaState) => dma.free(state)],
  ])("dma-iova R8: %s", (_title, step) => {
    const { dma, range, reserve, defects } = setUp();
    const state = reserve();
    dma.link(state, 0n, range, way);
    step(dma, state);
    expect(defects()).toEqual(["iova-length-mismatch"]);
  });

  it("dma-iova R8: a table over links that were never synced", () => {
    const { dma, range, reserve, defects, sanitizer } = setUp();
    const state = reserve();
    dma.link(state, 0n, range, way);
    exportWith(() => tableOf("iova", state.address, 2), dma, sanitizer);
    expect(defects()).toEqual(["iova-not-synced"]);
  });

  it("dma-buf R24: an IOVA freed while a mapping uses it", () => {
    const { dma, range, defects, sanitizer } = setUp();
    const address = dma.mapPhys(range, way);
    exportWith(() => tableOf("iova", address, 2), dma, sanitizer);
    dma.unmapPhys(address, SIZE, way);
    expect(defects()).toEqual(["iova-freed-in-use"]);
  });

  it("dma-buf R23: a table that is no whole pages, and one that is short of the buffer", () => {
    const { dma, defects, sanitizer } = setUp();
    class Odd extends ScatterTable {
      override entry() {
        return { address: busAddr(0x1234n), length: Number(SIZE) };
      }
    }
    exportWith(() => new Odd("bus", Float64Array.of(1), Uint32Array.of(2)), dma, sanitizer);
    expect(defects()).toEqual(["table-misaligned"]);
    exportWith(() => tableOf("bus", 0x1000n, 1), dma, sanitizer);
    expect(defects()).toEqual(["table-misaligned", "table-size-mismatch"]);
  });
});

describe("right use is silent", () => {
  it("dma-iova R8: each legal sequence, in parts and again", () => {
    const { dma, range, reserve, sanitizer } = setUp();
    dma.free(reserve());
    dma.destroy(reserve(), 0n);
    const state = reserve();
    const next: PhysRange = { start: physAddr(range.start), length: range.length };
    dma.link(state, 0n, range, way);
    dma.link(state, SIZE, next, way);
    dma.sync(state, 0n, 0x1000n);
    dma.sync(state, 0x1000n, 0x3000n);
    dma.unlink(state, SIZE, SIZE);
    dma.link(state, SIZE, next, way);
    dma.sync(state, SIZE, SIZE);
    dma.destroy(state, 2n * SIZE);
    dma.unmapPhys(dma.mapPhys(range, way), SIZE, way);
    expect(sanitizer.finish()).toEqual([]);
  });
});
