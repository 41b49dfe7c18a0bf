import { type DmaAddr, MAX_SEGMENT_BYTES, PAGE_SIZE } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { check, equal, expectErrno, expectViolation } from "../expect.js";
import { probeDevice } from "../mapper-probe.js";
import { failEveryStep } from "./fail-every-step.js";
import type { ExporterCapability, ExporterFixture } from "./fixture.js";
import { ScriptedImporter } from "./scripted-importer.js";

type ExporterCase = ConformanceCase<ExporterFixture, ExporterCapability>;

const SIZE = 0x8000n;

const coversSize: ExporterCase = {
  id: "map/covers-the-buffer-in-whole-pages",
  title: "the table covers the buffer: whole pages, no empty or oversized entry, no wrap",
  rules: "dma-buf R23, vfio-pci-dmabuf R33, dma-iova R26",
  needs: ["sgt"],
  async run({ device, ...fixture }) {
    for (const size of [0x1000n, SIZE, 0x20_0000n]) {
      const buffer = await fixture.export(size);
      const importer = new ScriptedImporter(buffer, device);
      const table = await importer.map();
      check(table.entries > 0, "the table has no entries");
      let total = 0n;
      for (const { address, length } of table) {
        equal(address % BigInt(PAGE_SIZE), 0n, "entry address modulo the page size");
        equal(length % PAGE_SIZE, 0, "entry length modulo the page size");
        check(length > 0 && length <= MAX_SEGMENT_BYTES, `entry of ${String(length)} bytes`);
        check(address + BigInt(length) <= 1n << 64n, "an entry wraps the address space");
        total += BigInt(length);
      }
      equal(total, size, "sum of the entries");
      await importer.leave();
      buffer.close();
    }
  },
};

const bytesArrive: ExporterCase = {
  id: "map/bytes-arrive",
  title: "what the device writes through the table is what the exporter reads, range by range",
  rules: "dma-buf R23, dma-iova R29, R31",
  needs: ["sgt", "bytes"],
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    const table = await importer.map();
    for (let page = 0n; page < SIZE; page += 0x1000n) {
      const done = await device.engine?.write(table.locate(page + 8n).address, pattern(page));
      equal(done?.status, "ok", `write to offset ${String(page)}`);
    }
    for (let page = 0n; page < SIZE; page += 0x1000n) {
      const found = new Uint8Array(8);
      await fixture.read?.(buffer, page + 8n, found);
      equal(found.join(), pattern(page).join(), `bytes at offset ${String(page)}`);
    }
    await importer.leave();
    buffer.close();
  },
};

/** Eight bytes that no other page has. */
function pattern(page: bigint): Uint8Array {
  return Uint8Array.from({ length: 8 }, (_, i) => Number((page >> 12n) * 8n) + i + 1);
}

const severalRanges: ExporterCase = {
  id: "map/several-ranges-in-order",
  title: "a buffer of several ranges maps whole, each range after the one before it",
  rules: "dma-iova R29, R31, vfio-pci-dmabuf R35",
  needs: ["sgt", "multi-range", "bytes"],
  async run({ device, ...fixture }) {
    const sizes = [0x3000n, 0x1000n, 0x2000n];
    const buffer = await fixture.export(...sizes);
    equal(buffer.size, 0x6000n, "size of the buffer");
    const importer = new ScriptedImporter(buffer, device);
    const table = await importer.map();
    equal(table.size, buffer.size, "size of the table");
    for (let page = 0; page < 6; page++) {
      const at = table.locate(BigInt(page) * 0x1000n).address;
      const done = await device.engine?.write(at, Uint8Array.of(page + 1));
      equal(done?.status, "ok", `write to page ${String(page)}`);
    }
    for (let page = 0; page < 6; page++) {
      const found = new Uint8Array(1);
      await fixture.read?.(buffer, BigInt(page) * 0x1000n, found);
      equal(found[0], page + 1, `byte of page ${String(page)}`);
    }
    await importer.leave();
    buffer.close();
  },
};

const independent: ExporterCase = {
  id: "map/two-maps-are-independent",
  title: "two maps of one attachment give two tables; ending one leaves the other usable",
  rules: "dma-buf R24, vfio-pci-dmabuf R14",
  needs: ["sgt"],
  async run(fixture) {
    const buffer = await fixture.export(SIZE);
    const { device, probe } = probeDevice(fixture.device);
    const importer = new ScriptedImporter(buffer, device);
    const first = await importer.map();
    const second = await importer.map();
    check(first !== second, "both maps gave the same table object");
    if (first.space === "iova") {
      const [a, b] = [first.locate(0n).address, second.locate(0n).address];
      check(a !== b, "both maps have the same IOVA");
    }
    await importer.unmap(first);
    equal(importer.attachment.mappings, 1, "mappings after one of two was undone");
    if (probe !== undefined && second.space === "iova") {
      check(!probe.isEmpty, "the first unmap took the second mapping's IOVA too");
    }
    if (device.engine !== undefined) await writes(device.engine, second.locate(0n).address);
    await importer.leave();
    buffer.close();
  },
};

async function writes(
  engine: NonNullable<ExporterFixture["device"]["engine"]>,
  address: DmaAddr,
): Promise<void> {
  const done = await engine.write(address, Uint8Array.of(1));
  equal(done.status, "ok", "write through the second table after the first is gone");
}

const unmapBalances: ExporterCase = {
  id: "unmap/gives-everything-back",
  title:
    "after unmap the device's mapper holds nothing of the buffer, however often it is repeated",
  rules: "dma-buf R25, dma-iova R8, R31",
  needs: ["sgt", "mapper"],
  async run(fixture) {
    const buffer = await fixture.export(SIZE);
    const { device, probe } = probeDevice(fixture.device);
    const importer = new ScriptedImporter(buffer, device);
    for (let i = 0; i < 50; i++) {
      await importer.map();
      await importer.unmap();
      equal(probe?.linked, 0n, "bytes still linked after unmap");
      equal(probe?.mapped, 0, "ranges still mapped after unmap");
    }
    importer.attachment.detach();
    equal(probe?.reservations, 0, "IOVA reservations after detach");
    buffer.close();
  },
};

const unmapForeign: ExporterCase = {
  id: "unmap/foreign-table-refused",
  title: "a table of another attachment, a second unmap and a wrong direction are refused",
  rules: "dma-buf R25",
  needs: ["sgt"],
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    const a = new ScriptedImporter(buffer, device);
    const b = new ScriptedImporter(buffer, device);
    const ofA = await a.map();
    const ofB = await b.map();
    await expectViolation(() => b.unmap(ofA), "dma-buf R25", "unmap of another's table");
    await expectViolation(() => a.unmap(ofA, "to-device"), "dma-buf R25", "another direction");
    equal(a.attachment.mappings, 1, "mappings after the refusals");
    await b.unmap(ofB);
    await expectViolation(() => b.unmap(ofB), "dma-buf R25", "second unmap");
    await a.leave();
    b.attachment.detach();
    buffer.close();
  },
};

const withoutLock: ExporterCase = {
  id: "map/without-the-lock-refused",
  title: "map and unmap with a released or foreign proof are refused and change nothing",
  rules: "dma-buf R16, R21",
  needs: ["sgt"],
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    const other = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    const released = await buffer.reservation.lock();
    released.release();
    await expectViolation(() => importer.mapHeld(released), "dma-buf R16", "map, released proof");
    equal(importer.attachment.mappings, 0, "mappings after the refusal");
    if (other.reservation !== buffer.reservation) {
      const foreign = await other.reservation.lock();
      await expectViolation(() => importer.mapHeld(foreign), "dma-buf R16", "map, foreign proof");
      foreign.release();
    }
    await importer.map();
    await expectViolation(
      () => {
        importer.unmapAll(released);
      },
      "dma-buf R16",
      "unmap, released proof",
    );
    equal(importer.attachment.mappings, 1, "mappings after the refused unmap");
    await importer.unmap();
    importer.attachment.detach();
    buffer.close();
    other.close();
  },
};

const failureLeavesNothing: ExporterCase = {
  id: "map/failure-leaves-nothing",
  title: "a map that fails at any of its steps gives back all it took, and the next one works",
  rules: "dma-buf R22, dma-iova R31, vfio-pci-dmabuf R37, R38, R39",
  needs: ["sgt", "mapper"],
  async run(fixture) {
    const buffer = await fixture.export(SIZE);
    await failEveryStep(buffer, fixture);
    buffer.close();
  },
};

const failureOfSeveralRanges: ExporterCase = {
  id: "map/failure-in-a-later-range-leaves-nothing",
  title: "a map that fails at a later range undoes exactly the ranges before it",
  rules: "dma-iova R31, vfio-pci-dmabuf R38, R39",
  needs: ["sgt", "mapper", "multi-range"],
  async run(fixture) {
    const buffer = await fixture.export(0x3000n, 0x1000n, 0x2000n);
    await failEveryStep(buffer, fixture);
    buffer.close();
  },
};

const unreachable: ExporterCase = {
  id: "map/unreachable-device-refused",
  title:
    "attach of a device that cannot reach the memory works, map gives EINVAL and leaves nothing",
  rules: "vfio-pci-dmabuf R10, R12",
  needs: ["sgt", "unreachable"],
  async run(fixture) {
    const buffer = await fixture.export(SIZE);
    check(fixture.unreachable !== undefined, "the fixture has no unreachable device");
    const importer = new ScriptedImporter(buffer, fixture.unreachable);
    await expectErrno(() => importer.map(), "EINVAL", "map for the unreachable device");
    equal(importer.attachment.mappings, 0, "mappings after the refusal");
    importer.attachment.detach();
    const reachable = new ScriptedImporter(buffer, fixture.device);
    await reachable.map();
    await reachable.leave();
    buffer.close();
  },
};

const staticImporter: ExporterCase = {
  id: "map/static-importer-is-pinned-around-map",
  title: "a static importer's map pins, its unmap unpins, and nothing stays pinned",
  rules: "dma-buf R19, R20, R21",
  needs: ["sgt", "static", "pin"],
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    const attachment = buffer.attach(device);
    for (let i = 0; i < 3; i++) {
      const held = await buffer.reservation.lock();
      const table = await attachment.mapWait("from-device", held);
      equal(fixture.pins?.(), 1, "pins while mapped");
      attachment.unmap(table, "from-device", held);
      held.release();
      equal(fixture.pins?.(), 0, "pins after unmap");
    }
    attachment.detach();
    buffer.close();
  },
};

/** Map and unmap. */
export const mapCases: readonly ExporterCase[] = [
  coversSize,
  bytesArrive,
  severalRanges,
  independent,
  unmapBalances,
  unmapForeign,
  withoutLock,
  failureLeavesNothing,
  failureOfSeveralRanges,
  unreachable,
  staticImporter,
];
