import type { DmaBuf } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { ConformanceFailure, check, equal, expectErrno } from "../expect.js";
import type { ImportedBuffer, ImporterCapability, ImporterFixture } from "./fixture.js";
import { WatchedExporter } from "./watched-exporter.js";

type ImporterCase = ConformanceCase<ImporterFixture, ImporterCapability>;

const SIZE = 0x8000n;
const whole = { offset: 0n, length: SIZE };

const noCpuPages: ImporterCase = {
  id: "import/no-cpu-pages",
  title: "asked for CPU pages of an import the importer says EINVAL, before and after a revoke",
  rules: "iommufd R13, dma-buf R23, known-bugs B26",
  needs: ["cpu-pages", "revocable"],
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const imported = await fixture.import(buffer, whole);
    await expectErrno(() => imported.pages?.(), "EINVAL", "CPU pages of a live import");
    await turns.within(exporter.revoke(), "the revoke");
    await expectErrno(() => imported.pages?.(), "EINVAL", "CPU pages of a revoked import");
    await imported.close();
    buffer.close();
  },
};

const keyStaysTaken: ImporterCase = {
  id: "invalidate/key-stays-taken",
  title: "the key of a revoked import goes to nobody else before it is closed, and reaches nothing",
  rules: "rdma-umem R17, R18, known-bugs B33",
  needs: ["keys", "revocable", "final", "dma"],
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const dead = await fixture.import(buffer, whole);
    await turns.within(exporter.revoke(), "the revoke");
    const alive: ImportedBuffer[] = [];
    const other = new WatchedExporter(fixture.memory).export(SIZE);
    for (let i = 0; i < 4; i++) {
      const next = await fixture.import(other, whole);
      alive.push(next);
      check(next.key !== dead.key, `key ${String(dead.key)} of a revoked import was given again`);
    }
    equal(await dead.write?.(0n, Uint8Array.of(0xee)), false, "success of a write by the dead key");
    equal(firstByte(fixture, other), 0, "first byte of the other memory");
    for (const one of [dead, ...alive]) await one.close();
    buffer.close();
    other.close();
  },
};

const reregDoesNotRevive: ImporterCase = {
  id: "rereg/does-not-revive",
  title: "a revoked import cannot be re-registered in place, and stays dead when that is tried",
  rules: "rdma-umem R29, known-bugs B34",
  needs: ["rereg", "revocable", "final", "dma"],
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const imported = await fixture.import(buffer, whole);
    await rereg(imported);
    check(
      (await imported.write?.(0n, Uint8Array.of(1))) === true,
      "write after a good re-register",
    );
    await turns.within(exporter.revoke(), "the revoke");
    await expectErrno(() => rereg(imported), "EINVAL", "re-register of a revoked import");
    await turns.within(exporter.restore(), "the restore");
    equal(await imported.write?.(0n, Uint8Array.of(2)), false, "success of a write afterwards");
    equal(firstByte(fixture, buffer), 1, "first byte of the memory");
    await imported.close();
    buffer.close();
  },
};

const reregEnds: ImporterCase = {
  id: "rereg/takes-other-memory",
  title:
    "re-registered with other memory an import ends the old mapping and does not wait for itself",
  rules: "rdma-umem R15, R29, known-bugs B35",
  needs: ["rereg", "dma"],
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const [old, fresh] = [exporter.export(SIZE), exporter.export(SIZE)];
    const before = exporter.held(old);
    const imported = await fixture.import(old, whole);
    await turns.within(rereg(imported, fresh), "the re-register");
    check((await imported.write?.(0n, Uint8Array.of(7))) === true, "write to the new memory");
    equal(firstByte(fixture, fresh), 7, "first byte of the new memory");
    equal(firstByte(fixture, old), 0, "first byte of the old memory");
    equal([...old.attachments].length, 0, "attachments of the old buffer");
    await imported.close();
    equal(exporter.held(old), before, "held of the old buffer");
    old.close();
    fresh.close();
  },
};

const scatteredAfterMove: ImporterCase = {
  id: "restore/scattered-after-a-move",
  title:
    "mapped again page by page, a dynamic importer works by the new table, not by the old one's page size",
  rules: "rdma-umem R22, R34, known-bugs B42",
  needs: ["sgt", "revocable", "dynamic", "dma"],
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const imported = await fixture.import(buffer, whole);
    await writePages(fixture, buffer, imported, 0x10);
    await turns.within(exporter.revoke(), "the revoke");
    exporter.scattered = true;
    await turns.within(exporter.restore(), "the restore");
    await writePages(fixture, buffer, imported, 0x20);
    await turns.within(exporter.revoke(), "the second revoke");
    exporter.scattered = false;
    await turns.within(exporter.restore(), "the second restore");
    await writePages(fixture, buffer, imported, 0x30);
    await imported.close();
    buffer.close();
  },
};

/** Another byte into every page, and a look whether it is there. */
async function writePages(
  fixture: ImporterFixture,
  buffer: DmaBuf,
  imported: ImportedBuffer,
  base: number,
): Promise<void> {
  for (let page = 0; page < 8; page++) {
    const at = BigInt(page) * 0x1000n;
    const done = await imported.write?.(at, Uint8Array.of(base + page));
    equal(done, true, `write to page ${String(page)}`);
    equal(byteAt(fixture, buffer, at), base + page, `byte of page ${String(page)}`);
  }
}

function firstByte(fixture: ImporterFixture, buffer: DmaBuf): number {
  return byteAt(fixture, buffer, 0n);
}

/** A byte of a buffer of one range, read where the memory is. */
function byteAt(fixture: ImporterFixture, buffer: DmaBuf, offset: bigint): number {
  const { ranges } = buffer.ops as unknown as { ranges: readonly { readonly start: bigint }[] };
  const found = new Uint8Array(1);
  fixture.memory.read((ranges[0]?.start ?? 0n) + offset, found);
  return found[0] ?? 0;
}

function rereg(imported: ImportedBuffer, memory?: DmaBuf): Promise<void> {
  return (
    imported.rereg?.(memory) ?? Promise.reject(new ConformanceFailure("the import has no rereg"))
  );
}

/** Keys, re-registration, tables that change, and pages that nobody may have. */
export const keyCases: readonly ImporterCase[] = [
  noCpuPages,
  keyStaysTaken,
  reregDoesNotRevive,
  reregEnds,
  scatteredAfterMove,
];
