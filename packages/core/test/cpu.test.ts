import { describe, expect, it } from "vitest";
import {
  type DmaBuf,
  type DmaDirection,
  FenceContext,
  type FenceUsage,
  type SyncAccess,
  SyncFile,
} from "../src/index.js";
import { errorOf, rejectionOf, settle } from "./fixtures/expect-error.js";
import { buffer, locked, RecordingExporter } from "./fixtures/exporter.js";

function pending(made: DmaBuf, usage: FenceUsage): ReturnType<FenceContext["next"]> {
  const fence = new FenceContext(1, usage).next();
  locked(made, (held) => {
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, fence, usage);
  });
  return fence;
}

describe("CPU access", () => {
  it("waits for what its direction must wait for, never for BOOKKEEP (dma-buf R42)", async () => {
    const waits = async (usage: FenceUsage, direction: DmaDirection): Promise<boolean> => {
      const { buffer: made } = buffer();
      const fence = pending(made, usage);
      let begun = false;
      const begin = made.beginCpuAccess(direction).then(() => {
        begun = true;
      });
      await settle();
      const waited = !begun;
      fence.signal();
      await begin;
      return waited;
    };
    const table: [FenceUsage, boolean, boolean][] = [
      ["kernel", true, true],
      ["write", true, true],
      ["read", false, true],
      ["bookkeep", false, false],
    ];
    for (const [usage, reader, writer] of table) {
      expect([usage, await waits(usage, "from-device")]).toEqual([usage, reader]);
      expect([usage, await waits(usage, "to-device")]).toEqual([usage, writer]);
      expect([usage, await waits(usage, "bidirectional")]).toEqual([usage, writer]);
    }
  });

  it("asks the exporter first, and does not wait where it refused (dma-buf R42)", async () => {
    const { buffer: made, ops } = buffer();
    const fence = pending(made, "write");
    const begin = made.beginCpuAccess("from-device");
    expect(ops.log).toEqual(["from-device", "beginCpuAccess"]);
    ops.fail.set("beginCpuAccess", "EIO");
    expect((await rejectionOf(made.beginCpuAccess("from-device")))?.code).toBe("EIO");
    fence.signal();
    await begin;
  });

  it("can be interrupted while it waits (dma-buf R42)", async () => {
    const { buffer: made } = buffer();
    pending(made, "kernel");
    const abort = new AbortController();
    const begin = made.beginCpuAccess("from-device", { signal: abort.signal });
    abort.abort();
    expect((await rejectionOf(begin))?.code).toBe("EINTR");
  });

  it("ends without a wait and without a begin, unless the exporter minds (dma-buf R43)", async () => {
    const { buffer: made, ops } = buffer();
    pending(made, "kernel");
    await made.endCpuAccess("to-device");
    expect(ops.log).toEqual(["to-device", "endCpuAccess"]);
    ops.fail.set("endCpuAccess", "EINVAL");
    expect((await rejectionOf(made.endCpuAccess("to-device")))?.code).toBe("EINVAL");
  });

  it("needs nothing of the exporter, knows three directions, and takes no lock that is held (dma-buf R16, R41)", async () => {
    const ops = new RecordingExporter();
    Object.defineProperties(ops, {
      beginCpuAccess: { value: undefined },
      endCpuAccess: { value: undefined },
    });
    const { buffer: made } = buffer(ops);
    await made.beginCpuAccess("bidirectional");
    await made.endCpuAccess("bidirectional");
    const wrong = "none" as DmaDirection;
    expect(await rejectionOf(made.beginCpuAccess(wrong))).toEqual({
      code: "EINVAL",
      rule: "dma-buf R41",
    });
    const held = made.reservation.lockNow();
    expect((await rejectionOf(made.beginCpuAccess("to-device")))?.rule).toBe("dma-buf R16");
    held.release();
  });
});

describe("kernel views", () => {
  it("are one view, counted: the first maps, the last unmaps (dma-buf R54)", () => {
    const { buffer: made, ops } = buffer(new RecordingExporter({ size: 0x1_0000 }));
    locked(made, (held) => {
      const [a, b] = [made.vmap(held), made.vmap(held)];
      expect([a, made.vmaps, ops.log]).toEqual([b, 2, ["vmap"]]);
      a.bytes[5] = 7;
      made.vunmap(a, held);
      expect(ops.log).toEqual(["vmap"]);
      made.vunmap(b, held);
      expect([ops.log, made.vmaps]).toEqual([["vmap", "vunmap"], 0]);
      made.vunmap(made.vmap(held), held);
    });
    expect(ops.bytes[5]).toBe(7);
    expect(ops.log).toEqual(["vmap", "vunmap", "vmap", "vunmap"]);
  });

  it("are EINVAL without the op, and the exporter's errno otherwise (dma-buf R54)", () => {
    const without = new RecordingExporter();
    Object.defineProperty(without, "vmap", { value: undefined });
    const { buffer: made } = buffer(without);
    expect(errorOf(() => locked(made, (held) => made.vmap(held)))).toEqual({
      code: "EINVAL",
      rule: "dma-buf R54",
    });
    const { buffer: failing, ops } = buffer();
    ops.fail.set("vmap", "ENOMEM");
    expect(errorOf(() => locked(failing, (held) => failing.vmap(held)))?.code).toBe("ENOMEM");
    expect(failing.vmaps).toBe(0);
  });

  it("cannot be undone more often than made, nor by another view (dma-buf R54)", () => {
    const { buffer: made } = buffer();
    locked(made, (held) => {
      const stranger = { bytes: new Uint8Array(1), isIoMemory: false };
      expect(errorOf(() => made.vunmap(stranger, held))?.rule).toBe("dma-buf R54");
      const view = made.vmap(held);
      expect(errorOf(() => made.vunmap(stranger, held))?.rule).toBe("dma-buf R54");
      expect(made.vmaps).toBe(1);
      made.vunmap(view, held);
      expect(errorOf(() => made.vunmap(view, held))?.rule).toBe("dma-buf R54");
    });
  });
});

describe("mmap", () => {
  it("checks the op, then the end; lengths round up to pages (dma-buf R50)", () => {
    const without = new RecordingExporter();
    Object.defineProperty(without, "mmap", { value: undefined });
    const { buffer: plain } = buffer(without);
    expect(errorOf(() => plain.mmap({ offset: 0n, length: 1n }))).toEqual({
      code: "EINVAL",
      rule: "dma-buf R50",
    });
    const { buffer: made, ops } = buffer(new RecordingExporter({ size: 0x1_0000 }));
    const wrong: [bigint, bigint, string][] = [
      [0n, 0n, "EINVAL"],
      [0n, -1n, "EINVAL"],
      [-4096n, 4096n, "EINVAL"],
      [1n, 4096n, "EINVAL"],
      [0n, 0x1_0001n, "EINVAL"],
      [0xf000n, 0x1001n, "EINVAL"],
      [0x1_0000n, 1n, "EINVAL"],
      [(1n << 64n) - 4096n, 0x2000n, "EOVERFLOW"],
    ];
    for (const [offset, length, code] of wrong) {
      expect(errorOf(() => made.mmap({ offset, length }))).toEqual({ code, rule: "dma-buf R50" });
    }
    expect([ops.log, made.references]).toEqual([[], 1]);
    const last = made.mmap({ offset: 0xf000n, length: 1n });
    expect(last.bytes.length).toBe(4096);
  });

  it("shares the bytes and keeps the buffer until it is unmapped (dma-buf R50)", async () => {
    const { buffer: made, ops } = buffer(new RecordingExporter({ size: 0x1_0000 }));
    const mapping = made.mmap({ offset: 0x1000n, length: 0x1000n });
    mapping.bytes[0] = 9;
    expect(ops.bytes[0x1000]).toBe(9);
    made.close();
    await settle();
    expect(made.released).toBe(false);
    mapping.unmap();
    mapping.unmap();
    await settle();
    expect(ops.log).toEqual(["mmap", "release"]);
  });

  it("that the exporter refuses takes no reference (dma-buf R50)", () => {
    const { buffer: made, ops } = buffer();
    ops.fail.set("mmap", "EINVAL");
    expect(errorOf(() => made.mmap({ offset: 0n, length: 4096n }))?.code).toBe("EINVAL");
    expect(made.references).toBe(1);
  });
});

describe("sync files", () => {
  it("know three accesses (dma-buf R45, R46)", async () => {
    const { buffer: made } = buffer();
    const wrong = "none" as SyncAccess;
    expect(errorOf(() => made.exportSyncFile(wrong))).toEqual({
      code: "EINVAL",
      rule: "dma-buf R45",
    });
    const file = new SyncFile(new FenceContext(1, "a").next());
    expect(await rejectionOf(made.importSyncFile(file, wrong))).toEqual({
      code: "EINVAL",
      rule: "dma-buf R46",
    });
    expect(made.reservation.fences).toEqual([]);
  });

  it("carry fences from one buffer to the next (dma-buf R45, R46)", async () => {
    const [from, to] = [buffer().buffer, buffer().buffer];
    const fence = pending(from, "write");
    await to.importSyncFile(from.exportSyncFile("read"), "write");
    let begun = false;
    const begin = to.beginCpuAccess("from-device").then(() => (begun = true));
    await settle();
    expect(begun).toBe(false);
    fence.signal();
    await begin;
  });
});
