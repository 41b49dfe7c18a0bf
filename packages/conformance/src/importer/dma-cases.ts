import { type DmaBuf, FenceContext, type PhysRange } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { check, equal } from "../expect.js";
import type { ImporterCapability, ImporterFixture } from "./fixture.js";
import { WatchedExporter } from "./watched-exporter.js";

type ImporterCase = ConformanceCase<ImporterFixture, ImporterCapability>;

const SIZE = 0x8000n;
const whole = { offset: 0n, length: SIZE };
/** Turns into a write after which the revoke begins. */
const MOMENTS = 12;

const endsWithClose: ImporterCase = {
  id: "close/ends-dma",
  title: "a closed import moves no byte: what is written through it fails",
  rules: "dma-buf R25",
  needs: ["dma"],
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const memory = fixture.memory.allocate(SIZE);
    const buffer = exporter.exportRanges([memory]);
    const imported = await fixture.import(buffer, whole);
    equal(await imported.write?.(0n, Uint8Array.of(1)), true, "write before the close");
    await imported.close();
    // Use after close may also be refused.
    const late = Promise.resolve(imported.write?.(0n, Uint8Array.of(0xee))).catch(() => false);
    equal(await turns.within(late, "the write"), false, "success of a write after the close");
    equal(byteAt(fixture, memory, 0n), 1, "first byte of the memory");
    buffer.close();
  },
};

const revokeDuringWrite: ImporterCase = {
  id: "race/revoke-during-write",
  title: "a write that a revoke overtakes at any moment changes no byte once the revoke is done",
  rules: "dma-buf R25, R30, vfio-pci-dmabuf R16",
  needs: ["revocable", "dma"],
  async run(fixture, turns) {
    for (let moment = 0; moment < MOMENTS; moment++) {
      const exporter = new WatchedExporter(fixture.memory);
      const memory = fixture.memory.allocate(SIZE);
      const buffer = exporter.exportRanges([memory]);
      const imported = await fixture.import(buffer, whole);
      const writing = Promise.resolve(imported.write?.(0n, Uint8Array.of(0xa5)));
      await turns.pass(moment);
      await turns.within(exporter.revoke(), "the revoke during a write");
      const then = byteAt(fixture, memory, 0n);
      const done = await turns.within(writing, "the write during a revoke");
      await turns.settle();
      const when = `revoked after ${String(moment)} turns`;
      equal(byteAt(fixture, memory, 0n), then, `first byte after the revoke, ${when}`);
      if (done === true) equal(then, 0xa5, `first byte, the write seen as done, ${when}`);
      await imported.close();
      buffer.close();
    }
  },
};

const everyImport: ImporterCase = {
  id: "invalidate/reaches-every-import",
  title: "one revoke ends the mappings of every import of the buffer, and of no other buffer",
  rules: "dma-buf R15, R28, iommufd R9, R14",
  needs: ["revocable"],
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const other = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const kept = other.export(SIZE);
    const apart = await fixture.import(kept, whole);
    const imports = [await fixture.import(buffer, whole), await fixture.import(buffer, whole)];
    for (const one of [apart, ...imports]) {
      if (one.write) equal(await one.write(0n, Uint8Array.of(1)), true, "write before the revoke");
    }
    await turns.within(exporter.revoke(), "the revoke");
    equal(exporter.mapped, 0, "mappings after the revoke");
    for (const one of imports) {
      if (one.write) equal(await one.write(0n, Uint8Array.of(2)), false, "success of a write");
    }
    // A real device's memory is taken away as a whole.
    if (apart.write && fixture.memory.descriptors === undefined) {
      equal(await apart.write(0n, Uint8Array.of(3)), true, "write to the other buffer");
    }
    for (const one of [apart, ...imports]) await one.close();
    buffer.close();
    kept.close();
  },
};

const waitsAfterMove: ImporterCase = {
  id: "invalidate/waits-for-the-move",
  title: "told that the memory moves, a dynamic importer waits for the move's KERNEL fence anew",
  rules: "dma-buf R21, R28, rdma-umem R9",
  needs: ["sgt", "revocable", "dynamic", "kernel-fences", "dma"],
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const memory = fixture.memory.allocate(SIZE);
    const buffer = exporter.exportRanges([memory]);
    const imported = await fixture.import(buffer, whole);
    equal(await imported.write?.(0n, Uint8Array.of(1)), true, "write before the move");
    const fence = await startMove(buffer);
    const writing = Promise.resolve(imported.write?.(0n, Uint8Array.of(2)));
    // An importer may also let the device see a failure: what counts is that no byte moves.
    const waits = await turns.isPending(writing);
    if (!waits) equal(await writing, false, "success of a write while the memory moves");
    equal(byteAt(fixture, memory, 0n), 1, "first byte while the memory moves");
    fence.signal();
    await turns.within(writing, "the write, with the move done");
    equal(await imported.write?.(0n, Uint8Array.of(3)), true, "write after the move");
    equal(byteAt(fixture, memory, 0n), 3, "first byte after the move");
    await imported.close();
    buffer.close();
  },
};

const movedMemory: ImporterCase = {
  id: "restore/memory-elsewhere",
  title:
    "memory that comes back at another place is written there, and the old place is left alone",
  rules: "dma-buf R25, R28, rdma-umem R22, R23",
  needs: ["sgt", "revocable", "dynamic", "dma"],
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const [here, there] = [fixture.memory.allocate(SIZE), fixture.memory.allocate(SIZE)];
    const buffer = exporter.exportRanges([here]);
    const imported = await fixture.import(buffer, whole);
    equal(await imported.write?.(0x7fffn, Uint8Array.of(1)), true, "write at the first place");
    await turns.within(exporter.revoke(), "the revoke");
    exporter.move(buffer, [there]);
    await turns.within(exporter.restore(), "the restore");
    equal(await imported.write?.(0x7fffn, Uint8Array.of(2)), true, "write at the second place");
    equal(byteAt(fixture, there, 0x7fffn), 2, "last byte of the second place");
    equal(byteAt(fixture, here, 0x7fffn), 1, "last byte of the first place");
    await imported.close();
    buffer.close();
  },
};

let contexts = 0x7400;

/** What an exporter does that moves a buffer: a KERNEL fence for the copy, then everybody is told. The fence is the caller's to signal. */
async function startMove(buffer: DmaBuf) {
  contexts += 1;
  const fence = new FenceContext(contexts, "conformance-move").next();
  const held = await buffer.reservation.lock();
  try {
    buffer.reservation.reserveFences(held, 1);
    buffer.reservation.addFence(held, fence, "kernel");
    buffer.invalidateMappings(held);
  } finally {
    held.release();
  }
  return fence;
}

function byteAt({ memory }: ImporterFixture, range: PhysRange, offset: bigint): number {
  const found = new Uint8Array(1);
  check(memory.read(range.start + offset, found) === 1, "the suite's memory is gone");
  return found[0] ?? 0;
}

/** Bytes that move, or must not, around what the exporter does meanwhile. */
export const dmaCases: readonly ImporterCase[] = [
  endsWithClose,
  revokeDuringWrite,
  everyImport,
  waitsAfterMove,
  movedMemory,
];
