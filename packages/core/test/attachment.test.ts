import { describe, expect, it } from "vitest";
import {
  type DmaDevice,
  type DmaDirection,
  FenceContext,
  type ImporterOps,
  ScatterTable,
} from "../src/index.js";
import { errorOf, rejectionOf, settle } from "./fixtures/expect-error.js";
import {
  buffer,
  device,
  EventLog,
  importer,
  locked,
  RecordingExporter,
} from "./fixtures/exporter.js";

describe("attach", () => {
  it("without a device is EINVAL; the exporter's errno comes back as it is (dma-buf R9)", () => {
    const { buffer: made, ops } = buffer();
    expect(errorOf(() => made.attach(undefined as unknown as DmaDevice))).toEqual({
      code: "EINVAL",
      rule: "dma-buf R9",
    });
    ops.fail.set("attach", "EBUSY");
    expect(errorOf(() => made.attach(device("a")))).toEqual({ code: "EBUSY", rule: undefined });
    expect([...made.attachments]).toEqual([]);
    ops.fail.clear();
    expect(made.attach(device("a")).name).toBe("a.1");
  });

  it("offers peer-to-peer as the importer says, before the exporter's attach, which may decline (dma-buf R10)", () => {
    const { buffer: made, ops } = buffer();
    const seen: (boolean | undefined)[] = [];
    ops.onCall = (op, attachment) => {
      if (op === "attach") seen.push(attachment?.peer2peer);
    };
    made.attach(device("static"));
    made.attach(device("no"), { allowPeer2Peer: false });
    made.attach(device("yes"), importer());
    expect(seen).toEqual([false, false, true]);
    ops.onCall = (op, attachment) => {
      if (op === "attach" && attachment !== undefined) attachment.peer2peer = false;
    };
    expect(made.attach(device("declined"), importer()).peer2peer).toBe(false);
  });

  it("settles peer-to-peer for good, and nobody but the importer can allow it (dma-buf R10)", () => {
    const { buffer: made, ops } = buffer();
    const attachment = made.attach(device("a"), importer());
    const refused = { code: "ERR_PROTOCOL", rule: "dma-buf R10" };
    expect(errorOf(() => (attachment.peer2peer = false))).toEqual(refused);
    expect(attachment.peer2peer).toBe(true);
    let raised: ReturnType<typeof errorOf>;
    ops.onCall = (op, other) => {
      if (op === "attach" && other !== undefined) raised = errorOf(() => (other.peer2peer = true));
    };
    expect(made.attach(device("b")).peer2peer).toBe(false);
    expect(raised).toEqual(refused);
  });

  it("is dynamic by bringing ops, revocable by bringing invalidate (dma-buf R11, R12)", () => {
    const { buffer: made } = buffer();
    const kinds = (
      [undefined, { allowPeer2Peer: false }, importer()] as (ImporterOps | undefined)[]
    ).map((ops) => {
      const { isDynamic, revocable, kind } = made.attach(device("a"), ops);
      return [isDynamic, revocable, kind];
    });
    expect(kinds).toEqual([
      [false, false, "static"],
      [true, false, "not-revocable"],
      [true, true, "dynamic"],
    ]);
  });

  it("joins the list only after the exporter's attach, which runs without the lock (dma-buf R13)", () => {
    const { buffer: made, ops } = buffer();
    const inside: unknown[] = [];
    ops.onCall = (op, attachment) => {
      if (op !== "attach") return;
      inside.push([...made.attachments].length, attachment?.attached, made.reservation.isLocked);
      inside.push(errorOf(() => locked(made, (held) => attachment?.map("to-device", held)))?.code);
    };
    const attachment = made.attach(device("a"));
    expect(inside).toEqual([0, false, false, "EBADF"]);
    expect([...made.attachments]).toEqual([attachment]);
  });

  it("leaves an attachment that was refused unusable (dma-buf R13)", () => {
    const { buffer: made, ops } = buffer();
    let kept: ReturnType<typeof made.attach> | undefined;
    ops.onCall = (op, attachment) => {
      if (op === "attach") kept = attachment;
    };
    ops.fail.set("attach", "EOPNOTSUPP");
    errorOf(() => made.attach(device("a")));
    expect(errorOf(() => locked(made, (held) => kept?.map("to-device", held)))?.code).toBe("EBADF");
    kept?.detach();
    expect(ops.log).toEqual(["attach!"]);
  });

  it("of one device to one buffer may happen several times, each for itself (dma-buf R15)", () => {
    const { buffer: made } = buffer();
    const nic = device("nic");
    const [a, b] = [made.attach(nic, importer()), made.attach(nic, importer())];
    locked(made, (held) => {
      const table = a.map("to-device", held);
      expect([a.mappings, b.mappings]).toEqual([1, 0]);
      expect(errorOf(() => b.unmap(table, "to-device", held))?.rule).toBe("dma-buf R25");
      a.unmap(table, "to-device", held);
    });
    b.detach();
    expect([...made.attachments]).toEqual([a]);
    expect([a.name, b.name]).toEqual(["nic.1", "nic.2"]);
  });

  it("and detach deadlock with the running code's own lock (dma-buf R16)", () => {
    const { buffer: made } = buffer();
    const attachment = made.attach(device("a"));
    locked(made, () => {
      const refused = { code: "EDEADLK", rule: "dma-buf R16" };
      expect(errorOf(() => made.attach(device("b")))).toEqual(refused);
      expect(errorOf(() => attachment.detach())).toEqual(refused);
    });
    expect([...made.attachments]).toEqual([attachment]);
  });
});

describe("detach", () => {
  it("takes the attachment off the list, then tells the exporter without the lock, once (dma-buf R14)", () => {
    const { buffer: made, ops } = buffer();
    const attachment = made.attach(device("a"));
    const inside: unknown[] = [];
    ops.onCall = () => inside.push(made.reservation.isLocked, attachment.attached);
    attachment.detach();
    attachment.detach();
    expect(inside).toEqual([false, false]);
    expect(ops.log).toEqual(["attach", "detach"]);
    expect([...made.attachments]).toEqual([]);
    expect(errorOf(() => attachment.negotiate(["sgt"]))?.code).toBe("EBADF");
    expect(errorOf(() => locked(made, (held) => attachment.map("to-device", held)))?.code).toBe(
      "EBADF",
    );
  });

  it("is refused while mapped or pinned, and nothing changes (dma-buf R14)", () => {
    const { buffer: made, ops } = buffer(new RecordingExporter({ pins: true }));
    const attachment = made.attach(device("a"), importer());
    const table = locked(made, (held) => attachment.map("to-device", held));
    const refused = { code: "ERR_PROTOCOL", rule: "dma-buf R14" };
    expect(errorOf(() => attachment.detach())).toEqual(refused);
    locked(made, (held) => {
      attachment.unmap(table, "to-device", held);
      attachment.pin(held);
    });
    expect(errorOf(() => attachment.detach())).toEqual(refused);
    expect([attachment.attached, [...made.attachments].length]).toEqual([true, 1]);
    locked(made, (held) => attachment.unpin(held));
    attachment.detach();
    expect(ops.log.at(-1)).toBe("detach");
  });

  it("that the exporter throws out of leaves the attachment where it was", () => {
    const { buffer: made, ops } = buffer();
    const [a, b] = [made.attach(device("a")), made.attach(device("b"))];
    ops.fail.set("detach", "EIO");
    expect(errorOf(() => a.detach())?.code).toBe("EIO");
    expect([...made.attachments]).toEqual([a, b]);
    ops.fail.clear();
    a.detach();
    expect([...made.attachments]).toEqual([b]);
  });
});

describe("pin", () => {
  it("is for importers with ops alone (dma-buf R18)", () => {
    const { buffer: made, ops } = buffer(new RecordingExporter({ pins: true }));
    const attachment = made.attach(device("a"));
    locked(made, (held) => {
      expect(errorOf(() => attachment.pin(held))).toEqual({
        code: "ERR_PROTOCOL",
        rule: "dma-buf R18",
      });
      const table = attachment.map("to-device", held);
      // Nor can it take away the core's own.
      expect(errorOf(() => attachment.unpin(held))?.rule).toBe("dma-buf R20");
      attachment.unmap(table, "to-device", held);
    });
    expect(ops.log).toEqual(["attach", "pin", "map", "unmap", "unpin"]);
  });

  it("never fails and guarantees nothing where the exporter has none (dma-buf R18)", () => {
    const { buffer: made, ops } = buffer();
    const attachment = made.attach(device("a"), importer());
    locked(made, (held) => {
      attachment.pin(held);
      expect(attachment.pins).toBe(1);
      attachment.unpin(held);
    });
    expect(ops.log).toEqual(["attach"]);
  });

  it("balances for each attachment (dma-buf R20)", () => {
    const { buffer: made, ops } = buffer(new RecordingExporter({ pins: true }));
    const [a, b] = [made.attach(device("a"), importer()), made.attach(device("b"), importer())];
    locked(made, (held) => {
      a.pin(held);
      a.pin(held);
      expect(errorOf(() => b.unpin(held))).toEqual({ code: "ERR_PROTOCOL", rule: "dma-buf R20" });
      a.unpin(held);
      a.unpin(held);
      expect(errorOf(() => a.unpin(held))?.rule).toBe("dma-buf R20");
    });
    expect(ops.log).toEqual(["attach", "attach", "pin", "pin", "unpin", "unpin"]);
  });

  it("that fails is not counted", () => {
    const { buffer: made, ops } = buffer(new RecordingExporter({ pins: true }));
    const attachment = made.attach(device("a"), importer());
    locked(made, (held) => {
      ops.fail.set("pin", "EBUSY");
      expect(errorOf(() => attachment.pin(held))?.code).toBe("EBUSY");
      ops.fail.clear();
      attachment.pin(held);
      ops.fail.set("unpin", "EIO");
      expect(errorOf(() => attachment.unpin(held))?.code).toBe("EIO");
      expect(attachment.pins).toBe(1);
    });
  });

  it("is the core's own around the maps of static importers, and of nobody else (dma-buf R19, R33)", () => {
    const calls = (ops: RecordingExporter, with_: ImporterOps | undefined): readonly string[] => {
      const { buffer: made } = buffer(ops);
      const attachment = made.attach(device("a"), with_);
      locked(made, (held) => {
        attachment.unmap(attachment.map("to-device", held), "to-device", held);
      });
      return ops.log.slice(1);
    };
    expect(calls(new RecordingExporter({ pins: true }), undefined)).toEqual([
      "pin",
      "map",
      "unmap",
      "unpin",
    ]);
    expect(calls(new RecordingExporter(), undefined)).toEqual(["map", "unmap"]);
    expect(calls(new RecordingExporter({ pins: true }), importer())).toEqual(["map", "unmap"]);
    expect(calls(new RecordingExporter({ pins: true }), { allowPeer2Peer: true })).toEqual([
      "map",
      "unmap",
    ]);
  });

  it("of the core that is refused is the map's error (dma-buf R19)", () => {
    const { buffer: made, ops } = buffer(new RecordingExporter({ pins: true }));
    const attachment = made.attach(device("a"));
    ops.fail.set("pin", "EBUSY");
    expect(errorOf(() => locked(made, (held) => attachment.map("to-device", held)))?.code).toBe(
      "EBUSY",
    );
    expect([ops.log.at(-1), attachment.pins, attachment.mappings]).toEqual(["pin!", 0, 0]);
  });

  it("of the core is undone by every failure after it (dma-buf R22)", async () => {
    const { buffer: made, ops, scheduler } = buffer(new RecordingExporter({ pins: true }));
    const attachment = made.attach(device("a"));
    ops.fail.set("map", "ENOMEM");
    errorOf(() => locked(made, (held) => attachment.map("to-device", held)));
    expect(ops.log).toEqual(["attach", "pin", "map!", "unpin"]);
    ops.fail.clear();
    ops.log.length = 0;
    const held = await made.reservation.lock();
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, new FenceContext(1, "move", scheduler).next(), "kernel");
    expect(
      (await rejectionOf(attachment.mapWait("to-device", held, { deadlineUs: 0 })))?.code,
    ).toBe("ETIMEDOUT");
    expect(ops.log).toEqual(["pin", "map", "unmap", "unpin"]);
    expect([attachment.pins, attachment.mappings]).toEqual([0, 0]);
  });
});

describe("map and unmap", () => {
  it("need the proof (dma-buf R16, R21)", () => {
    const { buffer: made, ops } = buffer(new RecordingExporter({ pins: true }));
    const other = buffer().buffer;
    const attachment = made.attach(device("a"), importer());
    const foreign = other.reservation.lockNow();
    const table = locked(made, (held) => attachment.map("to-device", held));
    ops.log.length = 0;
    const uses: (() => unknown)[] = [
      () => attachment.map("to-device", foreign),
      () => attachment.unmap(table, "to-device", foreign),
      () => attachment.pin(foreign),
      () => attachment.unpin(foreign),
      () => attachment.open("phys", foreign),
      () => made.vmap(foreign),
    ];
    for (const use of uses) expect(errorOf(use)?.rule).toBe("dma-buf R16");
    expect([ops.log, attachment.mappings]).toEqual([[], 1]);
  });

  it("turn no table into ENOMEM and pass the exporter's errno on (dma-buf R21)", () => {
    const { buffer: made, ops } = buffer();
    const attachment = made.attach(device("a"), importer());
    ops.nextTable = null;
    expect(errorOf(() => locked(made, (held) => attachment.map("to-device", held)))).toEqual({
      code: "ENOMEM",
      rule: "dma-buf R21",
    });
    ops.nextTable = undefined;
    // Mapping may sleep in the kernel and be interrupted there.
    for (const code of ["EINTR", "ENODEV", "EIO"] as const) {
      ops.fail.set("map", code);
      expect(errorOf(() => locked(made, (held) => attachment.map("to-device", held)))?.code).toBe(
        code,
      );
    }
    expect(attachment.mappings).toBe(0);
  });

  it("refuse a table without entries, told of or not, and the exporter has it back (dma-buf R23)", () => {
    for (const events of [undefined, new EventLog()]) {
      const ops = new RecordingExporter({ pins: true });
      const { buffer: made } = buffer(ops, { events });
      const attachment = made.attach(device("a"));
      ops.nextTable = new ScatterTable("bus", new Float64Array(0), new Uint32Array(0));
      expect(errorOf(() => locked(made, (held) => attachment.map("to-device", held)))).toEqual({
        code: "ERR_PROTOCOL",
        rule: "dma-buf R23",
      });
      expect(ops.log).toEqual(["attach", "pin", "map", "unmap", "unpin"]);
      expect([attachment.mappings, attachment.pins, made.reservation.isLocked]).toEqual([
        0,
        0,
        false,
      ]);
    }
  });

  it("may end with EINTR, which leaves nothing mapped (dma-buf R26)", async () => {
    const { buffer: made, scheduler } = buffer();
    const attachment = made.attach(device("a"));
    const held = await made.reservation.lock();
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, new FenceContext(1, "move", scheduler).next(), "kernel");
    const abort = new AbortController();
    const mapping = attachment.mapWait("to-device", held, { signal: abort.signal });
    abort.abort();
    expect((await rejectionOf(mapping))?.code).toBe("EINTR");
    expect(attachment.mappings).toBe(0);
    held.release();
    attachment.detach();
  });

  it("wait for KERNEL fences on behalf of static importers only (dma-buf R21)", async () => {
    const { buffer: made, scheduler } = buffer();
    const classic = made.attach(device("a"));
    const dynamic = made.attach(device("b"), importer());
    const held = await made.reservation.lock();
    const timeline = new FenceContext(1, "move", scheduler);
    made.reservation.reserveFences(held, 2);
    const move = timeline.next();
    made.reservation.addFence(held, move, "kernel");
    made.reservation.addFence(held, new FenceContext(2, "job", scheduler).next(), "write");
    expect(errorOf(() => classic.map("to-device", held))).toEqual({
      code: "EAGAIN",
      rule: "dma-buf R21",
    });
    dynamic.unmap(dynamic.map("to-device", held), "to-device", held);
    let mapped = false;
    const waiting = classic.mapWait("to-device", held).then((table) => {
      mapped = true;
      return table;
    });
    await settle();
    expect(mapped).toBe(false);
    move.signal();
    const table = await waiting;
    expect(table.entries).toBe(1);
    classic.unmap(table, "to-device", held);
    // WRITE fences are nobody's business here.
    classic.unmap(classic.map("to-device", held), "to-device", held);
    held.release();
  });

  it("give each call its own table, each with its own unmap (dma-buf R24)", () => {
    const { buffer: made, ops } = buffer();
    const attachment = made.attach(device("a"), importer());
    locked(made, (held) => {
      const tables = (["to-device", "from-device", "to-device"] as const).map((d) =>
        attachment.map(d, held),
      );
      expect(new Set(tables).size).toBe(3);
      expect(attachment.mappings).toBe(3);
      for (const [i, d] of (["to-device", "from-device", "to-device"] as const).entries()) {
        const table = tables[i];
        if (table !== undefined) attachment.unmap(table, d, held);
      }
    });
    expect(attachment.mappings).toBe(0);
    expect(ops.log.filter((op) => op === "unmap").length).toBe(3);
  });

  it("count an exporter's one table as often as it was given out (dma-buf R24)", () => {
    const { buffer: made, ops } = buffer();
    const attachment = made.attach(device("a"), importer());
    const cached = ScatterTable.fromSpans("bus", [{ pfn: 1, pages: 16 }]);
    ops.nextTable = cached;
    locked(made, (held) => {
      attachment.map("to-device", held);
      attachment.map("from-device", held);
      attachment.map("to-device", held);
      expect(attachment.mappings).toBe(3);
      attachment.unmap(cached, "to-device", held);
      attachment.unmap(cached, "to-device", held);
      expect(errorOf(() => attachment.unmap(cached, "to-device", held))?.rule).toBe("dma-buf R25");
      attachment.unmap(cached, "from-device", held);
      expect(errorOf(() => attachment.unmap(cached, "from-device", held))?.rule).toBe(
        "dma-buf R25",
      );
    });
    expect(attachment.mappings).toBe(0);
  });

  it("take back only what was mapped here, in the direction it was mapped (dma-buf R25)", () => {
    const { buffer: made, ops } = buffer();
    const attachment = made.attach(device("a"), importer());
    const stranger = ScatterTable.fromSpans("bus", [{ pfn: 1, pages: 1 }]);
    locked(made, (held) => {
      const table = attachment.map("to-device", held);
      ops.log.length = 0;
      const none = undefined as unknown as ScatterTable;
      const wrong: [ScatterTable, DmaDirection][] = [
        [stranger, "to-device"],
        [none, "to-device"],
        [table, "from-device"],
        [table, "bidirectional"],
      ];
      for (const [what, direction] of wrong) {
        expect(errorOf(() => attachment.unmap(what, direction, held))?.rule).toBe("dma-buf R25");
      }
      expect([ops.log, attachment.mappings]).toEqual([[], 1]);
      attachment.unmap(table, "to-device", held);
      expect(errorOf(() => attachment.unmap(table, "to-device", held))?.rule).toBe("dma-buf R25");
      expect(ops.log).toEqual(["unmap"]);
    });
  });

  it("stay mapped where the exporter's unmap throws", () => {
    const { buffer: made, ops } = buffer(new RecordingExporter({ pins: true }));
    const attachment = made.attach(device("a"));
    const table = locked(made, (held) => attachment.map("to-device", held));
    ops.fail.set("unmap", "EIO");
    expect(
      errorOf(() => locked(made, (held) => attachment.unmap(table, "to-device", held)))?.code,
    ).toBe("EIO");
    expect([attachment.mappings, attachment.pins]).toEqual([1, 1]);
    ops.fail.clear();
    locked(made, (held) => attachment.unmap(table, "to-device", held));
    expect([attachment.mappings, attachment.pins]).toEqual([0, 0]);
  });

  it("know three directions", () => {
    const { buffer: made, ops } = buffer();
    const attachment = made.attach(device("a"), importer());
    const none = "none" as DmaDirection;
    expect(errorOf(() => locked(made, (held) => attachment.map(none, held)))?.code).toBe("EINVAL");
    expect(ops.log).toEqual(["attach"]);
  });

  it("hand out whole pages of the DMA list and no CPU pages (dma-buf R23)", () => {
    const { buffer: made } = buffer();
    const attachment = made.attach(device("a"), importer());
    const table = locked(made, (held) => attachment.map("to-device", held));
    for (const { address, length } of table) {
      expect([address % 4096n, length % 4096]).toEqual([0n, 0]);
    }
    expect(Object.keys(table).sort()).toEqual(["pages", "pfns", "space", "totalPages"]);
    expect(errorOf(() => ScatterTable.fromSpans("bus", [{ pfn: 0, pages: 0.5 }]))?.code).toBe(
      "EINVAL",
    );
  });
});
