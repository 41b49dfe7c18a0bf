import { describe, expect, it } from "vitest";
import {
  type Attachment,
  DmaBuf,
  type DmaBufReference,
  DmaBufRegistry,
  type ExporterOps,
  FenceContext,
  type Held,
  Reservation,
} from "../src/index.js";
import { errorOf, settle } from "./fixtures/expect-error.js";
import {
  buffer,
  device,
  EventLog,
  importer,
  locked,
  RecordingExporter,
} from "./fixtures/exporter.js";

describe("export", () => {
  it("needs map, unmap, release and offers (dma-buf R1)", () => {
    for (const missing of ["map", "unmap", "release", "offers"] as const) {
      const ops = new RecordingExporter();
      Object.defineProperty(ops, missing, { value: undefined });
      expect(errorOf(() => DmaBuf.export({ ops, size: 4096n }))).toEqual({
        code: "EINVAL",
        rule: "dma-buf R1",
      });
    }
    const none = undefined as unknown as ExporterOps;
    expect(errorOf(() => DmaBuf.export({ ops: none, size: 4096n }))?.code).toBe("EINVAL");
  });

  it("takes pin and unpin together or not at all (dma-buf R1)", () => {
    for (const missing of ["pin", "unpin"] as const) {
      const ops = new RecordingExporter({ pins: true });
      ops[missing] = undefined;
      expect(errorOf(() => DmaBuf.export({ ops, size: 4096n }))?.rule).toBe("dma-buf R1");
    }
    expect(buffer(new RecordingExporter({ pins: true })).buffer.references).toBe(1);
  });

  it("refuses sizes that are not whole pages between 1 and 2^63 (dma-buf R1)", () => {
    const wrong = [0n, -4096n, 1n, 4095n, 4097n, 1n << 63n, (1n << 64n) - 4096n];
    for (const size of [...wrong, 4096 as unknown as bigint]) {
      expect(errorOf(() => DmaBuf.export({ ops: new RecordingExporter(), size }))?.code).toBe(
        "EINVAL",
      );
    }
    const largest = (1n << 63n) - 4096n;
    expect(DmaBuf.export({ ops: new RecordingExporter(), size: largest }).size).toBe(largest);
  });

  it("lists nothing of a buffer that was refused (dma-buf R1)", () => {
    const registry = new DmaBufRegistry();
    errorOf(() => DmaBuf.export({ ops: new RecordingExporter(), size: 1n, registry }));
    expect(registry.size).toBe(0);
  });

  it("keeps the size for life and only O_ACCMODE and O_NONBLOCK of the flags (dma-buf R2)", () => {
    const all = 0o17777777;
    expect(buffer(undefined, { flags: all }).buffer.flags).toBe(0o4003);
    expect(buffer(undefined, { flags: 0o2000002 }).buffer.flags).toBe(2);
    const { buffer: made } = buffer();
    expect(() => Object.assign(made.attachments, {})).not.toThrow();
    made.close();
    expect(made.size).toBe(0x1_0000n);
  });
});

describe("references", () => {
  it("count, and putting one twice is one put (dma-buf R5)", () => {
    const { buffer: made } = buffer();
    const [a, b] = [made.get(), made.get()];
    expect(made.references).toBe(3);
    a.put();
    a.put();
    expect(made.references).toBe(2);
    made.close();
    made.close();
    b[Symbol.dispose]();
    expect([made.references, made.released]).toEqual([0, true]);
  });

  it("cannot be taken after the last one (dma-buf R5)", () => {
    const { buffer: made, ops } = buffer();
    made.close();
    const uses: (() => unknown)[] = [
      () => made.get(),
      () => made.attach(device("nic")),
      () => made.setName("x"),
      () => made.seek(0n, 2),
      () => made.poll(1),
      () => made.exportSyncFile("read"),
      () => made.mmap({ offset: 0n, length: 4096n }),
    ];
    for (const use of uses) expect(errorOf(use)?.code).toBe("EBADF");
    expect(ops.log).toEqual([]);
  });

  it("can be passed on: the new one counts, the old one is spent (dma-buf R3)", () => {
    const { buffer: made } = buffer();
    const first = made.get();
    const second = first.move();
    first.put();
    expect(made.references).toBe(2);
    expect(errorOf(() => first.move())?.code).toBe("EBADF");
    const creators = made.move();
    made.close();
    expect(made.references).toBe(2);
    expect(errorOf(() => made.move())?.code).toBe("EBADF");
    second.put();
    creators.put();
    expect(made.released).toBe(true);
  });
});

describe("release", () => {
  it("runs once, after the last reference, never inside the put (dma-buf R8)", async () => {
    const { buffer: made, ops } = buffer();
    const extra = made.get();
    made.close();
    await settle();
    expect(ops.log).toEqual([]);
    extra.put();
    expect(ops.log).toEqual([]);
    await settle();
    extra.put();
    made.close();
    await settle();
    expect(ops.log).toEqual(["release"]);
  });

  it("is refused at the last reference while attached, and nothing changes (dma-buf R6)", async () => {
    const { buffer: made, ops } = buffer();
    const attachment = made.attach(device("nic"), importer());
    const refused = { code: "ERR_PROTOCOL", rule: "dma-buf R6" };
    expect(errorOf(() => made.close())).toEqual(refused);
    expect([made.references, attachment.attached]).toEqual([1, true]);
    const reference: DmaBufReference = made.get();
    made.close();
    expect(errorOf(() => reference.put())).toEqual(refused);
    attachment.detach();
    reference.put();
    await settle();
    expect(ops.log).toEqual(["attach", "detach", "release"]);
  });

  it("is refused while the kernel has a view of it (dma-buf R6)", () => {
    const { buffer: made } = buffer(new RecordingExporter({ size: 0x1_0000 }));
    const view = locked(made, (held) => made.vmap(held));
    expect(errorOf(() => made.close())?.rule).toBe("dma-buf R6");
    expect([made.references, made.vmaps]).toEqual([1, 1]);
    locked(made, (held) => made.vunmap(view, held));
    made.close();
    expect(made.released).toBe(true);
  });

  it("cannot come from inside the exporter's attach (dma-buf R6)", () => {
    const { buffer: made, ops } = buffer();
    let inside: ReturnType<typeof errorOf>;
    ops.onCall = (op) => {
      if (op === "attach") inside = errorOf(() => made.close());
    };
    made.attach(device("nic"));
    expect([inside?.rule, made.references]).toEqual(["dma-buf R6", 1]);
  });

  it("finds the buffer off the list, and drops the fences of its own reservation (dma-buf R6, R7)", async () => {
    const registry = new DmaBufRegistry();
    const { buffer: made, ops } = buffer(undefined, { registry });
    const held = made.reservation.lockNow();
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, new FenceContext(1, "gpu").next(), "bookkeep");
    held.release();
    let listed = -1;
    ops.onCall = (op) => {
      if (op === "release") listed = registry.size;
    };
    made.close();
    expect(registry.size).toBe(1);
    await settle();
    expect([listed, registry.size, made.reservation.fences.length]).toEqual([0, 0, 0]);
  });

  it("leaves the fences of a shared reservation alone (dma-buf R6)", async () => {
    const reservation = new Reservation();
    const held = reservation.lockNow();
    reservation.reserveFences(held, 1);
    reservation.addFence(held, new FenceContext(1, "gpu").next(), "bookkeep");
    held.release();
    const { buffer: made } = buffer(undefined, { reservation });
    made.close();
    await settle();
    expect(reservation.fences.length).toBe(1);
  });
});

describe("mappingsRestored", () => {
  const listening = (name: string, seen: string[]) => ({
    allowPeer2Peer: true,
    mappingsRestored: ({ buffer }: Attachment, held: Held) => {
      buffer.reservation.assertHeld(held, "test");
      seen.push(name);
      if (name === "broken") throw new RangeError("broken importer");
    },
  });

  it("needs the proof, and tells nobody without (dma-buf R16)", () => {
    const { buffer: made } = buffer();
    const seen: string[] = [];
    made.attach(device("a"), listening("a", seen));
    const held = made.reservation.lockNow();
    held.release();
    expect(errorOf(() => made.mappingsRestored(held))?.rule).toBe("dma-buf R16");
    expect(seen).toEqual([]);
  });

  it("tells those that want to hear it, under the lock, also where one throws; its error comes last", () => {
    const { buffer: made } = buffer();
    const seen: string[] = [];
    const invalidated: string[] = [];
    made.attach(device("static"));
    made.attach(device("deaf"), importer(invalidated));
    const gone = made.attach(device("gone"), listening("gone", seen));
    made.attach(device("broken"), listening("broken", seen));
    made.attach(device("a"), listening("a", seen));
    gone.detach();
    expect(() => locked(made, (held) => made.mappingsRestored(held))).toThrow(RangeError);
    expect(seen).toEqual(["broken", "a"]);
    expect([invalidated, made.reservation.notifying]).toEqual([[], false]);
    const { buffer: quiet } = buffer();
    quiet.attach(device("b"), listening("b", seen));
    locked(quiet, (held) => quiet.mappingsRestored(held));
    expect(seen.at(-1)).toBe("b");
  });
});

describe("invalidate", () => {
  it("needs the proof (dma-buf R16)", () => {
    const { buffer: made } = buffer();
    const held = made.reservation.lockNow();
    held.release();
    expect(errorOf(() => made.invalidateMappings(held))?.rule).toBe("dma-buf R16");
  });

  it("tells those that can hear, in order of attaching, and skips the others (dma-buf R27)", () => {
    const { buffer: made } = buffer();
    const seen: string[] = [];
    made.attach(device("a"), importer(seen));
    made.attach(device("static"));
    made.attach(device("pinned"), { allowPeer2Peer: true });
    made.attach(device("b"), importer(seen));
    locked(made, (held) => made.invalidateMappings(held));
    expect(seen).toEqual(["a.1", "b.4"]);
  });

  it("may come any number of times, mapped or not, and says nothing of who listens (dma-buf R28, R29)", () => {
    const { buffer: made } = buffer();
    const seen: string[] = [];
    const attachment = made.attach(device("a"), importer(seen));
    locked(made, (held) => {
      made.invalidateMappings(held);
      attachment.pin(held);
      const table = attachment.map("bidirectional", held);
      made.invalidateMappings(held);
      made.invalidateMappings(held);
      // Nothing is undone for the importer: stale until it unmaps.
      expect([attachment.mappings, attachment.pins]).toEqual([1, 1]);
      attachment.unmap(table, "bidirectional", held);
      attachment.unpin(held);
      made.invalidateMappings(held);
    });
    expect(seen.length).toBe(4);
  });

  it("reaches every importer even where one throws (dma-buf R27)", () => {
    const { buffer: made } = buffer();
    const seen: string[] = [];
    made.attach(device("broken"), {
      allowPeer2Peer: false,
      invalidateMappings() {
        throw new RangeError("broken importer");
      },
    });
    made.attach(device("a"), importer(seen));
    expect(() => locked(made, (held) => made.invalidateMappings(held))).toThrow(RangeError);
    expect(seen).toEqual(["a.2"]);
    expect(made.reservation.notifying).toBe(false);
  });

  it("lets the callback unmap and unpin with the proof it was given (dma-buf R17)", () => {
    const { buffer: made } = buffer(new RecordingExporter({ pins: true }));
    let done = false;
    const attachment = made.attach(device("a"), {
      allowPeer2Peer: true,
      invalidateMappings(mine, held) {
        mine.unmap(table, "bidirectional", held);
        mine.unpin(held);
        done = true;
      },
    });
    const table = locked(made, (held) => {
      attachment.pin(held);
      return attachment.map("bidirectional", held);
    });
    locked(made, (held) => made.invalidateMappings(held));
    expect([done, attachment.mappings, attachment.pins]).toEqual([true, 0, 0]);
  });

  it("forbids the callback to attach, detach, lock, put to zero or invalidate (dma-buf R17)", () => {
    const { buffer: made } = buffer();
    const found: (string | undefined)[] = [];
    const attachment = made.attach(device("a"), {
      allowPeer2Peer: true,
      invalidateMappings(mine, held) {
        found.push(errorOf(() => made.attach(device("b")))?.code);
        found.push(errorOf(() => mine.detach())?.code);
        found.push(errorOf(() => made.reservation.lockNow())?.code);
        found.push(errorOf(() => made.close())?.rule);
        found.push(errorOf(() => made.invalidateMappings(held))?.rule);
      },
    });
    locked(made, (held) => made.invalidateMappings(held));
    expect(found).toEqual(["EDEADLK", "EDEADLK", "EDEADLK", "dma-buf R6", "dma-buf R27"]);
    expect([attachment.attached, made.references]).toEqual([true, 1]);
    attachment.detach();
  });

  it("runs under the exporter's lock, so an importer's own lock nests inside (dma-buf R32)", async () => {
    const { buffer: made } = buffer();
    let lockedInside: boolean | undefined;
    made.attach(device("a"), {
      allowPeer2Peer: true,
      invalidateMappings() {
        lockedInside = made.reservation.isLocked && made.reservation.notifying;
        // Waiting for the lock from here is no deadlock only because the callback does not wait for it.
        queued = made.reservation.lock().then((later) => later.release());
      },
    });
    let queued: Promise<void> | undefined;
    locked(made, (held) => made.invalidateMappings(held));
    await queued;
    expect([lockedInside, made.reservation.isLocked]).toEqual([true, false]);
  });

  it("returns while work may be in flight: BOOKKEEP fences and unmaps are waited for apart (dma-buf R30)", async () => {
    const { buffer: made, scheduler } = buffer();
    const attachment = made.attach(device("a"), importer());
    const fence = new FenceContext(1, "a", scheduler).next();
    const held = await made.reservation.lock();
    const table = attachment.map("bidirectional", held);
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, fence, "bookkeep");
    made.invalidateMappings(held);
    expect([made.reservation.isSignaled("bookkeep"), attachment.mappings]).toEqual([false, 1]);
    const drained = made.reservation.wait("bookkeep");
    fence.signal();
    await drained;
    expect(attachment.mappings).toBe(1);
    attachment.unmap(table, "bidirectional", held);
    held.release();
  });

  it("does not stop a new mapping: an exporter that revokes flags itself first (dma-buf R31)", () => {
    const { buffer: made, ops } = buffer();
    const again: (string | undefined)[] = [];
    const attachment = made.attach(device("a"), {
      allowPeer2Peer: true,
      invalidateMappings(mine, held) {
        again.push(
          errorOf(() => {
            mine.unmap(mine.map("bidirectional", held), "bidirectional", held);
          })?.code,
        );
      },
    });
    locked(made, (held) => made.invalidateMappings(held));
    ops.fail.set("map", "ENODEV");
    locked(made, (held) => made.invalidateMappings(held));
    expect(again).toEqual([undefined, "ENODEV"]);
    expect(attachment.mappings).toBe(0);
  });

  it("does not reach an attachment whose exporter attach has not returned (dma-buf R13)", () => {
    const { buffer: made, ops } = buffer();
    const seen: string[] = [];
    ops.onCall = (op) => {
      if (op === "attach") locked(made, (held) => made.invalidateMappings(held));
    };
    made.attach(device("a"), importer(seen));
    expect(seen).toEqual([]);
    ops.onCall = undefined;
    locked(made, (held) => made.invalidateMappings(held));
    expect(seen).toEqual(["a.1"]);
  });
});

describe("name and size", () => {
  it("takes 31 bytes and replaces any earlier name, attached or not (dma-buf R44)", () => {
    const { buffer: made } = buffer();
    made.attach(device("a"));
    made.setName("first");
    made.setName("x".repeat(31));
    expect(made.name).toBe("x".repeat(31));
    expect(errorOf(() => made.setName("x".repeat(32)))).toEqual({
      code: "EINVAL",
      rule: "dma-buf R44",
    });
    expect(made.name).toBe("x".repeat(31));
  });

  it("counts bytes of UTF-8, not characters, and stops at a NUL (dma-buf R44)", () => {
    const { buffer: made } = buffer();
    for (const fits of ["é".repeat(15), "☃".repeat(10), "😀".repeat(7)]) {
      made.setName(fits);
      expect(made.name).toBe(fits);
    }
    for (const long of ["é".repeat(16), "☃".repeat(11), "😀".repeat(8)]) {
      expect(errorOf(() => made.setName(long))?.code).toBe("EINVAL");
    }
    made.setName(`short\0${"x".repeat(99)}`);
    expect(made.name).toBe("short");
  });

  it("tells the size by seeking to the end, and keeps no position (dma-buf R49)", () => {
    const { buffer: made } = buffer();
    expect(made.seek(0n, 2)).toBe(0x1_0000n);
    expect(made.seek(0n, 0)).toBe(0n);
    const wrong: [bigint, number][] = [
      [0n, 1],
      [1n, 0],
      [-1n, 2],
      [4096n, 2],
      [0n, 3],
      [0n, 4],
    ];
    for (const [offset, whence] of wrong) {
      expect(errorOf(() => made.seek(offset, whence))).toEqual({
        code: "EINVAL",
        rule: "dma-buf R49",
      });
    }
  });
});

describe("events of a buffer", () => {
  it("say each thing once, in order", async () => {
    const events = new EventLog();
    const { buffer: made, ops } = buffer(new RecordingExporter({ pins: true, size: 0x1_0000 }), {
      events,
    });
    const attachment = made.attach(device("nic"));
    locked(made, (held) => {
      attachment.unmap(attachment.map("to-device", held), "to-device", held);
      made.invalidateMappings(held);
      made.vunmap(made.vmap(held), held);
      ops.fail.set("map", "ENOMEM");
      errorOf(() => attachment.map("to-device", held));
    });
    await made.beginCpuAccess("from-device");
    await made.endCpuAccess("from-device");
    made.mmap({ offset: 0n, length: 1n }).unmap();
    made.setName("n");
    attachment.detach();
    made.close();
    await settle();
    expect(events.types).toEqual([
      "export",
      "attach",
      "lock",
      ...["pin", "map", "unmap", "unpin", "invalidate", "vmap", "vunmap", "pin", "refuse", "unpin"],
      "unlock",
      "cpu-begin",
      "cpu-end",
      ...["get", "mmap", "put", "munmap", "name", "detach", "put", "release"],
    ]);
    expect(events.events.filter((event) => event.type === "refuse")).toEqual([
      {
        type: "refuse",
        buffer: "recorder",
        inode: 1,
        operation: "map",
        attachment: "nic.1",
        code: "ENOMEM",
      },
    ]);
  });
});
