import { describe, expect, it } from "vitest";
import {
  dispose,
  FenceArray,
  FenceContext,
  isDmaBufError,
  Reservation,
  ScatterTable,
  SyncFile,
} from "../src/index.js";
import { errorOf, settle, told } from "./fixtures/expect-error.js";
import { buffer, device, EventLog, importer, RecordingExporter } from "./fixtures/exporter.js";

/** The numbers in what it says was found. */
function numbersIn(action: () => unknown): string[] {
  try {
    action();
  } catch (error) {
    if (isDmaBufError(error)) return error.reason.match(/\b\d+\b/g) ?? [];
  }
  throw new Error("nothing was refused");
}

const ops = (): RecordingExporter => new RecordingExporter({ size: 0x1_0000 });

describe("an attachment", () => {
  it("takes again what is settled already (dma-buf R10)", () => {
    const { buffer: made } = buffer();
    const attachment = made.attach(device("nic"), importer());
    attachment.peer2peer = true;
    expect(attachment.peer2peer).toBe(true);
    const fixed = made.attach(device("static"));
    fixed.peer2peer = false;
    expect(fixed.peer2peer).toBe(false);
  });

  it("ends with its scope, and so does the buffer", async () => {
    const exporter = ops();
    const { buffer: made } = buffer(exporter);
    const attachment = made.attach(device("nic"), importer());
    attachment[dispose]();
    expect([attachment.attached, [...made.attachments]]).toEqual([false, []]);
    made[dispose]();
    made[dispose]();
    await settle();
    expect([made.released, exporter.log.filter((op) => op === "release")]).toEqual([
      true,
      ["release"],
    ]);
  });

  it("of a static importer is not pinned where the exporter has no pin (dma-buf R18, R19)", () => {
    const events = new EventLog();
    const { buffer: made } = buffer(ops(), { events });
    const attachment = made.attach(device("static"));
    const held = made.reservation.lockNow();
    const table = attachment.map("to-device", held);
    expect([attachment.pins, attachment.mappings]).toEqual([0, 1]);
    attachment.unmap(table, "to-device", held);
    held.release();
    expect(events.types).not.toContain("pin");
    expect(events.types).not.toContain("unpin");
  });

  it("names the operation it refuses", async () => {
    const exporter = ops();
    const { buffer: made } = buffer(exporter);
    const dynamic = made.attach(device("nic"), importer());
    const fixed = made.attach(device("static"));
    const held = await made.reservation.lock();
    expect(
      await told(() => {
        fixed.pin(held);
      }),
    ).toBe("ERR_PROTOCOL attachment.pin dma-buf R18");
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, new FenceContext(1, "move").next(), "kernel");
    expect(await told(() => fixed.map("to-device", held))).toBe(
      "EAGAIN attachment.map dma-buf R21",
    );
    Object.assign(exporter, { open: undefined });
    expect(await told(() => dynamic.open("phys", held))).toBe(
      "ERR_PROTOCOL attachment.open interconnect",
    );
    held.release();
    dynamic.detach();
    expect(await told(() => dynamic.mapWait("to-device", held))).toBe("EBADF attachment.map -");
  });

  it("whose lock goes while it waits has lost the proof, and is told so (dma-buf R16)", async () => {
    const { buffer: made } = buffer();
    const attachment = made.attach(device("static"));
    const held = await made.reservation.lock();
    const fence = new FenceContext(1, "move").next();
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, fence, "kernel");
    const mapped = told(() => attachment.mapWait("to-device", held));
    await settle();
    held.release();
    fence.signal();
    expect(await mapped).toBe("ERR_PROTOCOL attachment.map dma-buf R16");
  });

  it("refused by the exporter is told to the sink with the errno, or without one (dma-buf R13)", () => {
    const events = new EventLog();
    const exporter = ops();
    const { buffer: made } = buffer(exporter, { events, name: "bar2" });
    const refused = () => events.events.filter(({ type }) => type === "refuse");
    exporter.fail.set("attach", "ENODEV");
    expect(errorOf(() => made.attach(device("nic")))?.code).toBe("ENODEV");
    exporter.onCall = () => {
      throw new TypeError("a defect of the exporter");
    };
    expect(() => made.attach(device("nic"))).toThrow(TypeError);
    const of = { type: "refuse", buffer: "bar2", inode: 1, operation: "attach" };
    expect(refused()).toEqual([
      { ...of, attachment: "nic.1", code: "ENODEV" },
      { ...of, attachment: "nic.1", code: "unknown" },
    ]);
  });
});

describe("many attachments of one buffer", () => {
  it("are told in order, each once, after most of them have left and others have come (dma-buf R27)", () => {
    const { buffer: made } = buffer();
    const seen: string[] = [];
    const attach = () => made.attach(device("d"), importer(seen));
    const told = (): string[] => {
      seen.length = 0;
      const held = made.reservation.lockNow();
      made.invalidateMappings(held);
      held.release();
      return [...seen];
    };
    let live = Array.from({ length: 100 }, attach);
    // The last one stays throughout, so that what has left are gaps.
    for (const keep of [3, 2, 7]) {
      const gone = live.filter((_, i) => i % keep !== 0 && i !== live.length - 1);
      live = live.filter((one) => !gone.includes(one));
      for (const [i, one] of gone.entries()) {
        one.detach();
        if (i % 10 === 0) expect(told()).toEqual([...made.attachments].map(({ name }) => name));
      }
      expect([...made.attachments]).toEqual(live);
      expect(told()).toEqual(live.map(({ name }) => name));
      live = [...live, ...Array.from({ length: 40 }, attach)];
      expect(told()).toEqual(live.map(({ name }) => name));
    }
    for (const one of live) one.detach();
    for (const one of live) one.detach();
    expect([told(), [...made.attachments]]).toEqual([[], []]);
    const last = attach();
    expect(told()).toEqual([last.name]);
  });
});

describe("a buffer", () => {
  it("named from a NUL on has an empty name (dma-buf R44)", () => {
    const { buffer: made } = buffer();
    made.setName("\0hidden");
    expect(made.name).toBe("");
  });

  it("says how many are left at its last reference (dma-buf R6)", () => {
    const { buffer: made } = buffer(ops());
    const close = () => {
      made.close();
    };
    const attachments = ["a", "b"].map((name) => made.attach(device(name), importer()));
    expect(numbersIn(close)).toEqual(["2"]);
    const held = made.reservation.lockNow();
    made.vmap(held);
    made.vmap(held);
    made.vmap(held);
    held.release();
    expect(numbersIn(close)).toEqual(["2", "3"]);
    for (const attachment of attachments) attachment.detach();
    expect(numbersIn(close)).toEqual(["3"]);
  });

  it("is not closed from inside an exporter's attach, whoever is attached besides (dma-buf R6)", () => {
    const exporter = ops();
    const { buffer: made } = buffer(exporter);
    made.attach(device("first"), importer());
    let inside: ReturnType<typeof errorOf>;
    exporter.onCall = () => {
      inside = errorOf(() => {
        made.close();
      });
    };
    made.attach(device("second"), importer());
    expect([inside?.rule, made.released]).toEqual(["dma-buf R6", false]);
  });

  it("names the operation it refuses after release, and inside its own lock", async () => {
    const { buffer: made } = buffer(ops());
    const now = made.reservation.lockNow();
    expect(await told(() => made.mmap({ offset: 0n, length: 1n }))).toBe(
      "EDEADLK dmabuf.mmap dma-buf R16",
    );
    now.release();
    made.close();
    const held = await made.reservation.lock();
    expect(await told(() => made.vmap(held))).toBe("EBADF dmabuf.vmap -");
    const file = new SyncFile(new FenceContext(1, "job").next());
    expect(await told(() => made.importSyncFile(file, "read"))).toBe(
      "EBADF dmabuf.importSyncFile -",
    );
  });
});

describe("a reference and a sync file", () => {
  it("name the operation that refuses what is spent, or no access (dma-buf R3, R46)", async () => {
    const { buffer: made } = buffer(ops());
    const reference = made.get();
    const moved = reference.move();
    expect(await told(() => reference.move())).toBe("EBADF dmabuf.move -");
    reference.put();
    expect(made.references).toBe(2);
    moved[dispose]();
    expect(made.references).toBe(1);
    const file = new SyncFile(new FenceContext(1, "job").next());
    expect(await told(() => made.importSyncFile(file, "none" as "read"))).toBe(
      "EINVAL dmabuf.importSyncFile dma-buf R46",
    );
  });
});

describe("the CPU's share of a buffer", () => {
  it("may be its last page, and ends once (dma-buf R50)", () => {
    const events = new EventLog();
    const { buffer: made } = buffer(ops(), { events });
    const mapping = made.mmap({ offset: 0xf000n, length: 0x1000n });
    expect([mapping.bytes.length, made.references]).toEqual([0x1000, 2]);
    mapping.unmap();
    mapping[dispose]();
    expect(made.references).toBe(1);
    expect(events.types.filter((type) => type === "munmap")).toHaveLength(1);
  });

  it("ends without the exporter where that has nothing to undo (dma-buf R54)", () => {
    const exporter = ops();
    const { buffer: made } = buffer(exporter);
    Object.assign(exporter, { vunmap: undefined });
    const held = made.reservation.lockNow();
    const view = made.vmap(held);
    expect(made.vmap(held)).toBe(view);
    made.vunmap(view, held);
    expect(made.vmaps).toBe(1);
    made.vunmap(view, held);
    expect(made.vmaps).toBe(0);
    held.release();
  });

  it("is EINVAL where the exporter gives the kernel no view (dma-buf R54)", async () => {
    const exporter = ops();
    const { buffer: made } = buffer(exporter);
    Object.assign(exporter, { vmap: undefined });
    const held = await made.reservation.lock();
    expect(await told(() => made.vmap(held))).toBe("EINVAL dmabuf.vmap dma-buf R54");
    expect(made.vmaps).toBe(0);
  });
});

describe("a reservation", () => {
  it("names the operation it refuses", async () => {
    const [mine, other] = [new Reservation({ name: "mine" }), new Reservation({ name: "other" })];
    const held = await mine.lock();
    const foreign = await other.lock();
    const fence = new FenceContext(1, "job").next();
    const rows: readonly (readonly [string, () => unknown])[] = [
      [
        "ERR_PROTOCOL reservation.reserveFences dma-buf R16",
        () => {
          mine.reserveFences(foreign, 1);
        },
      ],
      [
        "ERR_PROTOCOL reservation.addFence dma-buf R16",
        () => {
          mine.addFence(foreign, fence, "read");
        },
      ],
      [
        "EINVAL reservation.addFence -",
        () => {
          mine.addFence(held, fence, "none" as "read");
        },
      ],
      [
        "ERR_PROTOCOL reservation.addFence dma-buf R36",
        () => {
          mine.addFence(held, new FenceArray([fence]), "read");
        },
      ],
      ["EINTR reservation.wait -", () => mine.wait("read", { signal: AbortSignal.abort() })],
    ];
    for (const [expected, action] of rows) expect(await told(action)).toBe(expected);
  });

  it("names the reservations that a proof is of and is not of (dma-buf R16)", async () => {
    const [mine, other] = [new Reservation({ name: "mine" }), new Reservation({ name: "other" })];
    const reasonOf = (proof: unknown): string => {
      try {
        mine.assertHeld(proof as never, "test");
      } catch (error) {
        if (isDmaBufError(error)) return error.reason;
      }
      throw new Error("nothing was refused");
    };
    const held = await mine.lock();
    const foreign = reasonOf(await other.lock());
    expect([foreign.includes("mine"), foreign.includes("other")]).toEqual([true, true]);
    held.release();
    const stale = reasonOf(held);
    expect(new Set([foreign, stale, reasonOf(undefined)]).size).toBe(3);
  });

  it("is not unlocked by the proof of an earlier holder, nor loses what the holder reserved (dma-buf R36)", async () => {
    const events = new EventLog();
    const resv = new Reservation({ name: "r", events });
    const stale = await resv.lock();
    stale.release();
    const held = await resv.lock();
    resv.reserveFences(held, 1);
    events.events.length = 0;
    stale.release();
    expect([held.held, events.types]).toEqual([true, []]);
    resv.addFence(held, new FenceContext(1, "job").next(), "read");
    expect(resv.fences).toHaveLength(1);
  });
});

describe("a scatter table", () => {
  it("has no empty span beside others, and no more entries than a list can count (vfio-pci-dmabuf R34)", () => {
    const one = { pfn: 1, pages: 1 };
    for (const pages of [0, -1, 0.5]) {
      expect(errorOf(() => ScatterTable.fromSpans("bus", [one, { pfn: 9, pages }]))).toEqual({
        code: "EINVAL",
        rule: "vfio-pci-dmabuf R34",
      });
    }
    const endless = { pfn: 0, pages: 2 ** 52 };
    expect(errorOf(() => ScatterTable.fromSpans("bus", [endless]))?.code).toBe("EINVAL");
  });

  it("finds its first byte, and each byte after a slice was taken", () => {
    const table = ScatterTable.fromSpans("bus", [
      { pfn: 16, pages: 2 },
      { pfn: 64, pages: 1 },
    ]);
    expect(table.locate(0n)).toEqual({ address: 0x1_0000n, length: 0x2000 });
    expect([...table.slice(1, 2)].map(({ address }) => address)).toEqual([0x1_1000n, 0x4_0000n]);
    expect(table.locate(0x2fffn)).toEqual({ address: 0x4_0fffn, length: 1 });
  });
});
