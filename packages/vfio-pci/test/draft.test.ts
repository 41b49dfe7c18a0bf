import { type ExporterCapability, exporterCases, runSuite } from "@peerbar/conformance";
import {
  type Attachment,
  FenceContext,
  type PhysRange,
  physAddr,
  type ScatterEntry,
  type ScatterTable,
} from "@peerbar/core";
import { describe, expect, it } from "vitest";
import type { P2pMapType } from "../src/index.js";
import { backedMachine } from "./fixtures/backed-machine.js";
import { DraftExporter, DraftTable } from "./fixtures/draft-exporter.js";
import { GIB, MIB } from "./fixtures/fake-function.js";
import { fakeDevice, revocable } from "./fixtures/fake-importer.js";
import { FakeMapper } from "./fixtures/fake-mapper.js";

const START = 0x100_0000_0000n;
const NIC = "0000:3c:00.0";

interface Draft {
  readonly exporter: DraftExporter;
  readonly mapper: FakeMapper;
  readonly p2p: { answer: P2pMapType };
  readonly attachment: Attachment;
  map(): ScatterTable;
  unmap(table: ScatterTable): void;
}

function draft(lengths: readonly bigint[], space: "bus" | "iova" = "iova"): Draft {
  const p2p = { answer: "thru-host-bridge" as P2pMapType };
  let next = START;
  const ranges = lengths.map((length): PhysRange => {
    const start = physAddr(next);
    next += length;
    return { start, length };
  });
  const mapper = new FakeMapper(space);
  const exporter = new DraftExporter({ mapType: () => p2p.answer }, "0000:3b:00.0", ranges);
  const attachment = exporter.buffer.attach(fakeDevice(NIC, mapper), revocable);
  return {
    exporter,
    mapper,
    p2p,
    attachment,
    map() {
      using held = exporter.buffer.reservation.lockNow();
      return attachment.map("bidirectional", held);
    },
    unmap(table) {
      using held = exporter.buffer.reservation.lockNow();
      attachment.unmap(table, "bidirectional", held);
    },
  };
}

/** The draft's own list, in bytes. */
function rawOf(table: ScatterTable): readonly ScatterEntry[] {
  if (table instanceof DraftTable) return table.raw;
  throw new Error("not a table of the draft");
}

describe("the draft of October 2025 fails as analysed", () => {
  it("vfio-pci-dmabuf D1: map, unmap, detach frees the IOVA twice; without a map it is balanced", () => {
    const unused = draft([MIB]);
    unused.attachment.detach();
    expect(unused.mapper.clean).toBe(true);
    const used = draft([MIB]);
    used.unmap(used.map());
    expect(() => {
      used.attachment.detach();
    }).toThrow("is not reserved");
  });

  it("vfio-pci-dmabuf D1a: the IOVA then has two owners (a real allocator)", () => {
    const { device, port } = backedMachine("dma");
    const exporter = new DraftExporter({ mapType: () => "thru-host-bridge" }, "0000:3b:00.0", [
      { start: physAddr(START), length: 0x1000n },
    ]);
    const attachment = exporter.buffer.attach(device, revocable);
    const held = exporter.buffer.reservation.lockNow();
    attachment.unmap(attachment.map("bidirectional", held), "bidirectional", held);
    held.release();
    expect(() => {
      attachment.detach();
    }).toThrow("was given back before");
    expect(port.iovas.live).toBe(0);
  });

  it("vfio-pci-dmabuf D2: a second map links into an IOVA that was given back", () => {
    const all = draft([MIB]);
    all.unmap(all.map());
    expect(() => all.map()).toThrow("is not reserved");
  });

  it("vfio-pci-dmabuf D3: a second mapping of one attachment collides with the first", () => {
    const all = draft([MIB]);
    all.map();
    expect(() => all.map()).toThrow("EADDRINUSE");
  });

  it("vfio-pci-dmabuf D4: two ranges collide", () => {
    const all = draft([MIB, MIB]);
    expect(() => all.map()).toThrow("EADDRINUSE");
  });

  it("vfio-pci-dmabuf D5: 4 GiB sync nothing, and leave an empty last entry", () => {
    const all = draft([4n * GIB]);
    const table = all.map();
    expect(all.mapper.log).toContain("sync 0x0+0x0");
    expect(rawOf(table)).toEqual([{ address: 0x4000_0000n, length: 0 }]);
  });

  it("vfio-pci-dmabuf D6: chunks of UINT_MAX leave the second at an address that is no page", () => {
    const all = draft([6n * GIB], "bus");
    const raw = rawOf(all.map());
    expect(raw[1]?.address).toBe(START + 0xffff_ffffn);
    expect((raw[1]?.address ?? 0n) % 0x1000n).not.toBe(0n);
  });

  it("vfio-pci-dmabuf D7: the unwind of range-by-range mappings unmaps what never was, and whole ranges in pieces", () => {
    const failing = draft([MIB, MIB], "bus");
    failing.mapper.failAt = 2;
    expect(() => failing.map()).toThrow("unmap of 0x0+0x0");
    const long = draft([6n * GIB], "bus");
    const table = long.map();
    expect(() => {
      long.unmap(table);
    }).toThrow("which was not mapped so");
  });

  it("vfio-pci-dmabuf D8: IOVA space is held by an importer that never maps", () => {
    const all = draft([16n * GIB]);
    expect([...all.mapper.reserved.values()]).toEqual([16n * GIB]);
    all.attachment.detach();
  });

  it("vfio-pci-dmabuf D9: the verdict of attach stays, whatever the topology says later", () => {
    const all = draft([MIB]);
    all.p2p.answer = "bus-addr";
    expect(all.map().entry(0).address).toBe(0x4000_0000n);
  });

  it("vfio-pci-dmabuf D10: revoking waits for neither fences nor mappings, and takes importers it cannot tell", () => {
    const all = draft([MIB]);
    all.exporter.buffer.attach(fakeDevice("0000:3d:00.0", new FakeMapper()), {
      allowPeer2Peer: true,
    });
    all.map();
    using held = all.exporter.buffer.reservation.lockNow();
    const fence = new FenceContext(1, "dma").next();
    all.exporter.buffer.reservation.reserveFences(held, 1);
    all.exporter.buffer.reservation.addFence(held, fence, "bookkeep");
    all.exporter.move(true, held);
    expect([fence.signaled, all.attachment.mappings]).toEqual([false, 1]);
  });

  it("vfio-pci-dmabuf D11: a pair without a way is refused with EINVAL, and leaks nothing", () => {
    const all = draft([MIB]);
    all.attachment.detach();
    all.p2p.answer = "not-supported";
    const attachment = all.exporter.buffer.attach(fakeDevice(NIC, all.mapper), revocable);
    using held = all.exporter.buffer.reservation.lockNow();
    expect(() => attachment.map("bidirectional", held)).toThrow("EINVAL");
    expect(all.mapper.clean).toBe(true);
  });

  it("vfio-pci-dmabuf D12: a failing first link leaves the reservation to detach", () => {
    const all = draft([MIB]);
    all.mapper.failAt = all.mapper.calls + 1;
    all.mapper.unlink = () => undefined;
    expect(() => all.map()).toThrow("ENOMEM");
    all.attachment.detach();
    expect(all.mapper.clean).toBe(true);
  });
});

describe("the exporter suite", () => {
  it("catches the draft", async () => {
    const capabilities: readonly ExporterCapability[] = [
      ...(["sgt", "mapper", "multi-range", "revocable-only", "peer2peer-only"] as const),
    ];
    let next = START;
    const report = await runSuite(exporterCases, {
      role: "exporter",
      name: "the October 2025 draft",
      capabilities,
      setup: () => ({
        device: backedMachine("dma").device,
        export(...sizes) {
          const ranges = sizes.map((length): PhysRange => {
            const start = physAddr(next);
            next += length + 0x1000n;
            return { start, length };
          });
          return new DraftExporter({ mapType: () => "thru-host-bridge" }, "0000:3b:00.0", ranges)
            .buffer;
        },
      }),
    });
    const failed = report.cases.filter(({ status }) => status === "failed").map(({ id }) => id);
    expect(failed).toContain("attach/refuses-importer-that-cannot-be-revoked");
    expect(failed.length).toBeGreaterThan(3);
    expect(failed.some((id) => id.startsWith("map/"))).toBe(true);
  });
});
