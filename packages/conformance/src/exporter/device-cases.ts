import { MAX_SEGMENT_BYTES, PAGE_SIZE } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { ConformanceFailure, check, equal, expectErrno } from "../expect.js";
import type { ExporterCapability, ExporterFixture } from "./fixture.js";
import { ScriptedImporter } from "./scripted-importer.js";

type ExporterCase = ConformanceCase<ExporterFixture, ExporterCapability>;

const SIZE = 0x8000n;
const GIB = 1n << 30n;

const largeBuffer: ExporterCase = {
  id: "map/more-than-4-gib",
  title: "beyond 4 GiB entries stay whole pages, show no byte twice, and add up to the buffer",
  rules: "vfio-pci-dmabuf R33, R34, dma-iova R26, R27, R28, known-bugs B17, B18, B21",
  needs: ["sgt", "large"],
  async run({ device, ...fixture }) {
    for (const size of [4n * GIB, 12n * GIB]) {
      const buffer = await fixture.export(size);
      const importer = new ScriptedImporter(buffer, device);
      const table = await importer.map();
      let total = 0n;
      const spans: { readonly first: bigint; readonly end: bigint }[] = [];
      for (const { address, length } of table) {
        check(length > 0 && length <= MAX_SEGMENT_BYTES, `an entry of ${String(length)} bytes`);
        equal(address % BigInt(PAGE_SIZE), 0n, "entry address modulo the page size");
        equal(length % PAGE_SIZE, 0, "entry length modulo the page size");
        spans.push({ first: address, end: address + BigInt(length) });
        total += BigInt(length);
      }
      equal(total, size, "sum of the entries");
      checkApart(spans);
      equal(table.size, size, "size of the table");
      await importer.leave();
      buffer.close();
    }
  },
};

/** Memory may be anywhere, so entries need not follow each other; but one that was computed in too few bits lies over an earlier one. */
function checkApart(spans: readonly { readonly first: bigint; readonly end: bigint }[]): void {
  const sorted = [...spans].sort((a, b) => (a.first < b.first ? -1 : 1));
  for (const [index, { first }] of sorted.entries()) {
    const before = sorted[index - 1];
    check(before === undefined || before.end <= first, "two entries overlap");
  }
}

const asksEachTime: ExporterCase = {
  id: "map/asks-for-the-way-each-time",
  title:
    "a way that was closed after attach refuses the next map with EINVAL, an opened one takes it",
  rules: "vfio-pci-dmabuf R12, D9, known-bugs B46",
  needs: ["sgt", "reroute"],
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    await importer.map();
    await importer.unmap();
    fixture.reroute?.(false);
    await expectErrno(() => importer.map(), "EINVAL", "map after the way was closed");
    fixture.reroute?.(true);
    await importer.map();
    await importer.leave();
    buffer.close();
  },
};

const closeDrainsFirst: ExporterCase = {
  id: "close/drains-before-it-disables",
  title: "until the last importer has let go, its DMA still reaches the memory of a closing device",
  rules: "vfio-pci-dmabuf R28, known-bugs B6",
  needs: ["close", "sgt", "bytes"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    importer.whenInvalidated = "keep";
    const table = await importer.map();
    const closed = close(fixture);
    check(await turns.isPending(closed), "close finished with a mapping live");
    const done = await device.engine?.write(table.locate(8n).address, Uint8Array.of(1));
    equal(done?.status, "ok", "write while close waits for the unmap");
    await turns.within(importer.unmap(), "unmap during the close");
    await turns.within(closed, "the close");
    importer.attachment.detach();
    buffer.close();
  },
};

const closeLeavesObjects: ExporterCase = {
  id: "close/buffers-stay-objects",
  title: "after close a buffer has its size, gives ENODEV to attach and map, and can be let go",
  rules: "vfio-pci-dmabuf R28, R29, known-bugs B60",
  needs: ["close", "sgt"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    await turns.within(close(fixture), "the close");
    await expectErrno(() => new ScriptedImporter(buffer, device), "ENODEV", "attach after close");
    await expectErrno(() => importer.map(), "ENODEV", "map after close");
    equal(buffer.size, SIZE, "size after close");
    importer.attachment.detach();
    buffer.close();
    await turns.settle();
  },
};

const resetRestoresNothing: ExporterCase = {
  id: "revoke/reset-does-not-restore",
  title: "a reset while the memory is off leaves buffers revoked; turned on they work again",
  rules: "vfio-pci-dmabuf R22, known-bugs B13",
  needs: ["reset", "revoke", "sgt"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    await turns.within(must(fixture.revoke?.()), "the revoke");
    await turns.within(must(fixture.reset?.()), "the reset");
    await expectErrno(() => importer.map(), "ENODEV", "map after a reset, the memory being off");
    await turns.within(must(fixture.restore?.()), "the restore");
    await importer.map();
    await turns.within(must(fixture.reset?.()), "the second reset");
    await importer.map();
    await importer.leave();
    buffer.close();
  },
};

const lowPowerHolds: ExporterCase = {
  id: "revoke/low-power-holds",
  title: "in low power nothing is given back: not by an export, not by turning the memory on",
  rules: "vfio-pci-dmabuf R26, known-bugs B14",
  needs: ["low-power", "revoke", "sgt"],
  async run({ device, ...fixture }, turns) {
    const early = await fixture.export(SIZE);
    const importer = new ScriptedImporter(early, device);
    await turns.within(must(fixture.lowPower?.(true)), "entering low power");
    const late = await fixture.export(SIZE);
    await expectErrno(() => new ScriptedImporter(late, device), "ENODEV", "attach in low power");
    await turns.within(must(fixture.restore?.()), "the restore");
    await expectErrno(() => importer.map(), "ENODEV", "map in low power, the memory being on");
    await turns.within(must(fixture.lowPower?.(false)), "leaving low power");
    await importer.map();
    await importer.leave();
    early.close();
    late.close();
  },
};

function close(fixture: Pick<ExporterFixture, "close">): Promise<void> {
  return must(fixture.close?.());
}

function must(operation: Promise<void> | undefined): Promise<void> {
  return operation ?? Promise.reject(new ConformanceFailure("the fixture lacks the operation"));
}

/** What the exporting device goes through: large memory, changed ways, resets, sleep and close. */
export const deviceCases: readonly ExporterCase[] = [
  largeBuffer,
  asksEachTime,
  closeDrainsFirst,
  closeLeavesObjects,
  resetRestoresNothing,
  lowPowerHolds,
];
