import {
  exporterCases,
  formatDefect,
  importerCases,
  runSuite,
  Sanitizer,
  sanitize,
} from "@peerbar/conformance";
import {
  MemoryBuffer,
  MemoryExporter,
  PhysicalMemory,
  SimpleImporter,
  SimpleIommu,
} from "@peerbar/conformance/reference";
import { type Attachment, type DmaAddr, iova, type ScatterTable } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { simpleImporterSubject } from "./fixtures/importers.js";
import { deviceAt, memorySubject } from "./fixtures/subjects.js";

const CLIENT = { name: "0000:03:00.0", isPci: true, dmaMask: (1n << 64n) - 1n, reserved: [] };

function setUp() {
  const memory = new PhysicalMemory();
  const sanitizer = new Sanitizer();
  const iommu = new SimpleIommu();
  const device = sanitizer.device(deviceAt(memory, "0000:01:00.0", iommu));
  const buffer = sanitize(new MemoryExporter({ memory }).export(0x4000n), sanitizer);
  const importer = { allowPeer2Peer: true, invalidateMappings: () => undefined };
  const attach = (): Attachment => buffer.attach(device, sanitize(importer, sanitizer));
  const map = (attachment: Attachment): ScatterTable => {
    using held = buffer.reservation.lockNow();
    return attachment.map("bidirectional", held);
  };
  const unmap = (attachment: Attachment, table: ScatterTable): void => {
    using held = buffer.reservation.lockNow();
    attachment.unmap(table, "bidirectional", held);
  };
  const defects = () => sanitizer.reports.map(({ defect }) => defect);
  return { memory, sanitizer, device, buffer, attach, map, unmap, defects };
}

it("what is still held is reported once, however often the end is asked for", () => {
  const { attach, map, sanitizer } = setUp();
  map(attach());
  const told = sanitizer.finish().length;
  expect(told).toBeGreaterThan(0);
  expect(sanitizer.finish()).toHaveLength(told);
});

describe("defects are reported by name", () => {
  it("dma-buf R25: double unmap, and unmap of what was never mapped", () => {
    const { attach, map, unmap, defects, sanitizer } = setUp();
    const [a, b] = [attach(), attach()];
    const table = map(a);
    unmap(a, table);
    expect(() => {
      unmap(a, table);
    }).toThrow(/not mapped/);
    expect(() => {
      unmap(b, table);
    }).toThrow(/not mapped/);
    expect(defects()).toEqual(["double-unmap", "unmap-never-mapped"]);
    const [report] = sanitizer.reports;
    expect(report?.rule).toBe("dma-buf R25");
    expect(report?.history.map(({ operation }) => operation)).toEqual([
      "attach dynamic for 0000:01:00.0",
      "map bidirectional",
      "unmap bidirectional",
      "unmap bidirectional",
    ]);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(report && formatDefect(report)).toMatch(/^double-unmap: .*\(dma-buf R25\)\n {2}#1 /);
  });

  it("dma-buf R16, R27: map and invalidate without the lock", () => {
    const { attach, buffer, defects } = setUp();
    const attachment = attach();
    const held = buffer.reservation.lockNow();
    held.release();
    expect(() => attachment.map("bidirectional", held)).toThrow(/R16/);
    expect(() => {
      buffer.invalidateMappings(held);
    }).toThrow(/R16/);
    expect(defects()).toEqual(["map-without-lock", "invalidate-without-lock"]);
  });

  it("dma-buf R14: a mapping and a pin left at detach, use after it", () => {
    const { attach, map, unmap, buffer, defects } = setUp();
    const attachment = attach();
    const table = map(attachment);
    expect(() => {
      attachment.detach();
    }).toThrow(/R14/);
    unmap(attachment, table);
    using held = buffer.reservation.lockNow();
    attachment.pin(held);
    held.release();
    expect(() => {
      attachment.detach();
    }).toThrow(/R14/);
    const again = buffer.reservation.lockNow();
    attachment.unpin(again);
    expect(() => {
      attachment.unpin(again);
    }).toThrow(/R20/);
    again.release();
    attachment.detach();
    expect(() => map(attachment)).toThrow(/EBADF/);
    expect(defects()).toEqual([
      "mapping-leaked",
      "pin-imbalance",
      "pin-imbalance",
      "use-after-detach",
    ]);
  });

  it("dma-buf R14: a callback after detach", () => {
    const { attach, buffer, defects } = setUp();
    const attachment = attach();
    attachment.detach();
    using held = buffer.reservation.lockNow();
    attachment.importer?.invalidateMappings?.(attachment, held);
    expect(defects()).toEqual(["callback-after-detach"]);
  });

  it("dma-buf R25, R30: DMA after unmap, and after a revoke", async () => {
    const { attach, map, unmap, buffer, device, defects } = setUp();
    const attachment = attach();
    const table = map(attachment);
    const { address } = table.entry(0);
    await device.engine?.write(address, Uint8Array.of(1));
    expect(defects()).toEqual([]);
    unmap(attachment, table);
    await device.engine?.write(address, Uint8Array.of(1));
    const second = map(attachment);
    {
      using held = buffer.reservation.lockNow();
      buffer.invalidateMappings(held);
      attachment.unmap(second, "bidirectional", held);
    }
    await device.engine?.read(second.entry(0).address, new Uint8Array(1));
    expect(defects()).toEqual(["dma-after-unmap", "dma-after-revoke"]);
  });

  it("dma-iova R7, R8: an IOVA freed twice, used after free, leaked, unmapped at another length", () => {
    const sanitizer = new Sanitizer();
    const memory = new PhysicalMemory();
    const { dma } = sanitize(new SimpleIommu(), sanitizer).connect(CLIENT);
    const range = memory.allocate(0x2000n);
    const state = dma.tryAllocIova(0x2000n);
    if (state === undefined) throw new Error("no IOVA");
    dma.link(state, 0n, range, "bidirectional");
    dma.destroy(state, 0x2000n);
    expect(() => {
      dma.free(state);
    }).toThrow(/EINVAL/);
    expect(() => {
      dma.link(state, 0n, range, "bidirectional");
    }).toThrow(/EINVAL/);
    const address: DmaAddr = dma.mapPhys(range, "bidirectional");
    dma.unmapPhys(address, 0x1000n, "bidirectional");
    dma.unmapPhys(iova(0x5000n), 0x1000n, "bidirectional");
    dma.tryAllocIova(0x1000n);
    dma.mapPhys(range, "bidirectional");
    expect(sanitizer.finish().map(({ defect }) => defect)).toEqual([
      "iova-freed-twice",
      "iova-used-after-free",
      "unmap-mismatch",
      "unmap-never-mapped",
      "iova-leaked",
      "iova-leaked",
    ]);
  });

  it("dma-buf R16, R25: an exporter that is called past the core", () => {
    const sanitizer = new Sanitizer();
    const memory = new PhysicalMemory();
    const buffer = new MemoryExporter({ memory }).export(0x1000n);
    const ops = sanitize(buffer.ops, sanitizer);
    const attachment = buffer.attach(deviceAt(memory, "0000:01:00.0"), {
      allowPeer2Peer: true,
      invalidateMappings: () => undefined,
    });
    const held = buffer.reservation.lockNow();
    const table = ops.map(attachment, "bidirectional", held);
    ops.unmap(attachment, table, "bidirectional", held);
    expect(sanitizer.reports).toEqual([]);
    expect(() => {
      ops.unmap(attachment, table, "bidirectional", held);
    }).toThrow(/R25/);
    held.release();
    ops.map(attachment, "bidirectional", held);
    expect(sanitizer.reports.map(({ defect }) => defect)).toEqual([
      "double-unmap",
      "map-without-lock",
    ]);
  });
});

/** Cases that break the contract themselves, to see it refused. */
const provoking = [
  "unmap/foreign-table-refused",
  "map/without-the-lock-refused",
  "buffer/invalidate-needs-the-lock",
];

describe("right implementations are silent", () => {
  it("the reference exporter, through its whole suite", async () => {
    const found: string[] = [];
    const subject = memorySubject("watched", (memory) => new MemoryExporter({ memory }));
    for (const one of exporterCases.filter(({ id }) => !provoking.includes(id))) {
      const sanitizer = new Sanitizer();
      const setup = async () => {
        const fixture = await subject.setup();
        return {
          ...fixture,
          device: sanitizer.device(fixture.device),
          export: async (...sizes: bigint[]) => sanitizer.buffer(await fixture.export(...sizes)),
        };
      };
      const report = await runSuite([one], { ...subject, setup });
      expect(report.failed).toBe(0);
      found.push(...sanitizer.finish().map((defect) => `${one.id}: ${formatDefect(defect)}`));
    }
    expect(found).toEqual([]);
  });

  it.each(["dynamic", "pinned"] as const)("the reference importer, %s", async (mode) => {
    const sanitizer = new Sanitizer();
    const subject = simpleImporterSubject("watched", mode, (device) => {
      return new SimpleImporter(sanitizer.device(device), mode);
    });
    const setup = async () => {
      const fixture = await subject.setup();
      const watched = new WeakSet();
      return {
        ...fixture,
        import: (...[buffer, slice]: Parameters<typeof fixture.import>) => {
          if (!watched.has(buffer)) sanitizer.buffer(buffer);
          watched.add(buffer);
          return fixture.import(buffer, slice);
        },
      };
    };
    const report = await runSuite(importerCases, { ...subject, setup });
    expect(report.failed).toBe(0);
    expect(sanitizer.finish().map(formatDefect)).toEqual([]);
  });

  it("an unwatched buffer's operations are its exporter's own", () => {
    const memory = new PhysicalMemory();
    const buffer = new MemoryExporter({ memory }).export(0x1000n);
    expect(sanitize(buffer.ops, new Sanitizer())).toBeInstanceOf(MemoryBuffer);
  });
});
