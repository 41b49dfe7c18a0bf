import { ADDRESS_LIMIT, DmaBufError, FenceContext, type ImporterOps } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { DmaBufUmem, MrAccess } from "../src/index.js";
import { FakeExporter, type FakeOptions, fakeNic, span } from "./fixtures/exporter.js";

const RW = MrAccess.LOCAL_WRITE;
const { fn } = fakeNic();
const dynamic = (): ImporterOps => ({ allowPeer2Peer: true, invalidateMappings: () => undefined });

function fourTimes64K(options: FakeOptions = {}) {
  return new FakeExporter(
    [span(0x10_0000, 16), span(0x30_0000, 16), span(0x50_0000, 16), span(0x70_0000, 16)],
    options,
  );
}

describe("getting a umem", () => {
  it.each([
    ["EINVAL", ADDRESS_LIMIT - 0x1000n, 0x1000n],
    ["EINVAL", -0x1000n, 0x1000n],
    ["EINVAL", 0x3_f000n, 0x1001n],
    ["EINVAL", 0x4_0000n, 0x1n],
    ["EINVAL", 0x800n, 0n],
  ] as const)(
    "rdma-umem R1: %s for offset %i, size %i, before the exporter is asked",
    (code, offset, size) => {
      const exporter = fourTimes64K();
      exporter.failing = { step: "attach", error: new DmaBufError("EBUSY", "fake", "no") };
      expect(() =>
        DmaBufUmem.get(fn, exporter.buffer, { offset, size, access: RW }, dynamic),
      ).toThrow(expect.objectContaining({ code, rule: "rdma-umem R1" }));
      expect(exporter.buffer.references).toBe(1);
    },
  );

  it("rdma-umem R1: overflow comes before a released buffer, which comes before its size", () => {
    const exporter = fourTimes64K();
    exporter.buffer.close();
    const get = (offset: bigint) => () =>
      DmaBufUmem.get(fn, exporter.buffer, { offset, size: 0x1000n, access: RW }, dynamic);
    expect(get(ADDRESS_LIMIT)).toThrow(expect.objectContaining({ code: "EINVAL" }));
    expect(get(0x100_0000n)).toThrow(expect.objectContaining({ code: "EBADF" }));
  });

  it("rdma-umem R1: the exporter's attach error comes through and the reference is dropped", () => {
    const exporter = fourTimes64K();
    exporter.failing = { step: "attach", error: new DmaBufError("EBUSY", "fake", "no") };
    expect(() =>
      DmaBufUmem.get(fn, exporter.buffer, { offset: 0n, size: 1n, access: RW }, dynamic),
    ).toThrow(expect.objectContaining({ code: "EBUSY" }));
    expect(exporter.buffer.references).toBe(1);
    expect(exporter.attachments).toBe(0);
  });

  it("rdma-umem R2: address is the offset; writable by access; the map is both ways in any case", async () => {
    const exporter = fourTimes64K();
    const writable: readonly (readonly [number, boolean])[] = [
      [0, false],
      [MrAccess.REMOTE_READ, false],
      [MrAccess.LOCAL_WRITE, true],
      [MrAccess.REMOTE_WRITE, true],
      [MrAccess.REMOTE_ATOMIC, true],
      [MrAccess.MW_BIND, true],
    ];
    for (const [access, expected] of writable) {
      const request = { offset: 0x1800n, size: 0x2000n, access };
      const umem = DmaBufUmem.get(fn, exporter.buffer, request, dynamic);
      expect(umem).toMatchObject({
        address: 0x1800n,
        length: 0x2000n,
        writable: expected,
        isDmaBuf: true,
      });
      const held = await exporter.buffer.reservation.lock();
      await umem.mapPages(held);
      held.release();
      await umem.release();
    }
    expect(exporter.steps.filter((step) => step.startsWith("map "))).toEqual(
      Array.from({ length: 6 }, () => "map bidirectional"),
    );
  });

  it("rdma-umem R3, R16, B38: pinned is pinned and mapped at once, peer to peer, and cannot be told of a revoke", async () => {
    const exporter = fourTimes64K({ pin: true });
    const request = { offset: 0n, size: 0x1000n, access: RW };
    const umem = await DmaBufUmem.getPinned(fn, exporter.buffer, request);
    expect([umem.pinned, umem.mapped, umem.peer2peer]).toEqual([true, true, true]);
    expect(exporter.seen?.kind).toBe("not-revocable");
    await exporter.move(true);
    expect([umem.mapped, umem.revoked]).toEqual([true, false]);
    await umem.release();
    expect(exporter.steps).toEqual([
      "attach",
      "pin",
      "map bidirectional",
      "unmap",
      "unpin",
      "detach",
    ]);
  });

  it("rdma-umem R3, B32: a pin that fails is not undone, a map that fails is unpinned once", async () => {
    for (const [step, steps] of [
      ["pin", ["attach", "detach"]],
      ["map bidirectional", ["attach", "pin", "unpin", "detach"]],
    ] as const) {
      const exporter = fourTimes64K({ pin: true });
      exporter.failing = { step, error: new DmaBufError("ENOMEM", "fake", "no") };
      const request = { offset: 0n, size: 0x1000n, access: RW };
      for (const get of [
        () => DmaBufUmem.getPinned(fn, exporter.buffer, request),
        () => DmaBufUmem.getPinnedRevocableAndLock(fn, exporter.buffer, request),
      ]) {
        exporter.steps.length = 0;
        await expect(get()).rejects.toMatchObject({ code: "ENOMEM" });
        expect(exporter.steps).toEqual(steps);
        expect(exporter.buffer.references).toBe(1);
        expect(exporter.buffer.reservation.isLocked).toBe(false);
      }
    }
  });

  it("rdma-umem R4, B36: the revocable one comes back locked: a revoke waits until the callback is set", async () => {
    const exporter = fourTimes64K({ pin: true });
    const { umem, held } = await DmaBufUmem.getPinnedRevocableAndLock(fn, exporter.buffer, {
      offset: 0n,
      size: 0x1000n,
      access: RW,
    });
    const revoke = exporter.move(true);
    await Promise.resolve();
    let called = 0;
    umem.setRevokeLocked(held, () => {
      called += 1;
    });
    expect(umem.revoked).toBe(false);
    held.release();
    await revoke;
    expect([called, umem.revoked]).toEqual([1, true]);
    expect(() => {
      umem.setRevokeLocked(held, () => undefined);
    }).toThrow(expect.objectContaining({ rule: "dma-buf R16" }));
    await umem.release();
    expect(called).toBe(1);
  });

  it("rdma-umem R13, R15: a release that fails goes on from there, and tells the driver once", async () => {
    const exporter = fourTimes64K({ pin: true });
    const request = { offset: 0n, size: 0x1000n, access: RW };
    const got = await DmaBufUmem.getPinnedRevocableAndLock(fn, exporter.buffer, request);
    let told = 0;
    got.umem.setRevokeLocked(got.held, () => {
      told += 1;
    });
    got.held.release();
    exporter.failing = { step: "unpin", error: new DmaBufError("EIO", "fake", "broken") };
    await expect(got.umem.release()).rejects.toMatchObject({ code: "EIO" });
    expect([exporter.attachments, exporter.buffer.reservation.isLocked]).toEqual([1, false]);
    exporter.failing = undefined;
    await Promise.all([got.umem.release(), got.umem.release()]);
    expect([told, exporter.attachments, exporter.buffer.references]).toEqual([1, 0, 1]);
  });

  it("rdma-umem R5: released before a callback is set, it revokes itself without one", async () => {
    const exporter = fourTimes64K({ pin: true });
    const { umem, held } = await DmaBufUmem.getPinnedRevocableAndLock(fn, exporter.buffer, {
      offset: 0n,
      size: 0x1000n,
      access: RW,
    });
    held.release();
    await umem.release();
    expect(exporter.steps.slice(-3)).toEqual(["unmap", "unpin", "detach"]);
    expect(exporter.buffer.references).toBe(1);
  });

  it("rdma-umem R5, R6, B37: revoked between attach and pin it is EINVAL, never pinned, and leaves nothing", async () => {
    const exporter = fourTimes64K({ pin: true });
    const held = await exporter.buffer.reservation.lock();
    const request = { offset: 0n, size: 0x1000n, access: RW };
    const getting = DmaBufUmem.getPinnedRevocableAndLock(fn, exporter.buffer, request);
    exporter.buffer.invalidateMappings(held);
    held.release();
    await expect(getting).rejects.toMatchObject({ code: "EINVAL", rule: "rdma-umem R6" });
    expect(exporter.steps).toEqual(["attach", "detach"]);
    expect(exporter.buffer.references).toBe(1);
  });

  it("an exporter without DMA addresses is EOPNOTSUPP naming both lists, and nothing is left", () => {
    const exporter = fourTimes64K();
    exporter.offered = ["phys"];
    const request = { offset: 0n, size: 0x1000n, access: RW };
    expect(() => DmaBufUmem.get(fn, exporter.buffer, request, dynamic)).toThrow(
      expect.objectContaining({
        code: "EOPNOTSUPP",
        message: expect.stringMatching(/\[sgt\].*\[phys\]/) as unknown,
      }),
    );
    expect(exporter.steps).toEqual(["attach", "detach"]);
    expect(exporter.buffer.references).toBe(1);
  });
});

describe("mapping pages", () => {
  async function mapped(exporter: FakeExporter, offset: bigint, size: bigint) {
    const request = { offset, size, access: RW };
    const umem = DmaBufUmem.get(fn, exporter.buffer, request, dynamic);
    const held = await exporter.buffer.reservation.lock();
    const slice = await umem.mapPages(held);
    return { umem, held, slice };
  }

  it("rdma-umem R7, R11: the specification's example: 3 entries, trimmed at both ends", async () => {
    const { slice, held } = await mapped(fourTimes64K(), 0x1_1000n, 0x2_0000n);
    expect([...slice]).toEqual([
      { address: 0x30_1000n, length: 0xf000 },
      { address: 0x50_0000n, length: 0x1_0000 },
      { address: 0x70_0000n, length: 0x1000 },
    ]);
    held.release();
  });

  it("rdma-umem R7: start is rounded down to a page, the end up", async () => {
    const { slice, held } = await mapped(fourTimes64K(), 0x1800n, 0x2000n);
    expect([...slice]).toEqual([{ address: 0x10_1000n, length: 0x3000 }]);
    held.release();
  });

  it("rdma-umem R8: both trims on one entry", async () => {
    const { slice, held } = await mapped(fourTimes64K(), 0x2_2000n, 0x1000n);
    expect([...slice]).toEqual([{ address: 0x50_2000n, length: 0x1000 }]);
    held.release();
  });

  it("rdma-umem R10, B24: the exporter gets its own table back, untrimmed; a second unmap does nothing", async () => {
    const exporter = fourTimes64K();
    const { umem, held } = await mapped(exporter, 0x1_1000n, 0x2_0000n);
    umem.unmapPages(held);
    umem.unmapPages(held);
    expect(exporter.mapped).toBe(0);
    expect(exporter.steps.filter((step) => step === "unmap")).toHaveLength(1);
    held.release();
    await umem.release();
  });

  it("rdma-umem R6: mapped already, only the fence wait; revoked, EINVAL", async () => {
    const exporter = fourTimes64K();
    const { umem, held, slice } = await mapped(exporter, 0n, 0x1000n);
    expect(await umem.mapPages(held)).toBe(slice);
    expect(exporter.steps.filter((step) => step.startsWith("map"))).toHaveLength(1);
    umem.revokeLocked(held);
    await expect(umem.mapPages(held)).rejects.toMatchObject({
      code: "EINVAL",
      rule: "rdma-umem R6",
    });
    held.release();
  });

  it("rdma-umem R6: the exporter's errno comes through, and nothing is mapped", async () => {
    const exporter = fourTimes64K();
    const request = { offset: 0n, size: 0x1000n, access: RW };
    const umem = DmaBufUmem.get(fn, exporter.buffer, request, dynamic);
    exporter.revoked = true;
    const held = await exporter.buffer.reservation.lock();
    await expect(umem.mapPages(held)).rejects.toMatchObject({ code: "ENODEV" });
    expect(umem.mapped).toBe(false);
    held.release();
  });

  it("rdma-umem R9: waits for KERNEL fences alone, with the lock held; a failed wait keeps the mapping", async () => {
    const exporter = fourTimes64K();
    const { reservation } = exporter.buffer;
    const held = await reservation.lock();
    reservation.reserveFences(held, 2);
    const move = new FenceContext(1, "move").next();
    reservation.addFence(held, move, "kernel");
    reservation.addFence(held, new FenceContext(2, "draw").next(), "write");
    const request = { offset: 0n, size: 0x1000n, access: RW };
    const umem = DmaBufUmem.get(fn, exporter.buffer, request, dynamic);
    const controller = new AbortController();
    const failing = umem.mapPages(held, { signal: controller.signal });
    controller.abort();
    await expect(failing).rejects.toMatchObject({ code: "EINTR" });
    expect(umem.mapped).toBe(true);
    let done = false;
    const waiting = umem.mapPages(held).then(() => {
      done = true;
    });
    for (let i = 0; i < 10; i++) await Promise.resolve();
    expect([done, reservation.isLocked]).toEqual([false, true]);
    move.signal();
    await waiting;
    held.release();
    await umem.release();
    expect(exporter.mapped).toBe(0);
  });

  it("refuses without the reservation", async () => {
    const exporter = fourTimes64K();
    const { umem, held } = await mapped(exporter, 0n, 0x1000n);
    held.release();
    expect(() => {
      umem.unmapPages(held);
    }).toThrow(expect.objectContaining({ rule: "dma-buf R16" }));
    await umem.release();
  });
});

describe("revoking a umem", () => {
  async function pinned(options: FakeOptions = { pin: true }) {
    const exporter = fourTimes64K(options);
    const request = { offset: 0n, size: 0x1000n, access: RW };
    const { umem, held } = await DmaBufUmem.getPinnedRevocableAndLock(fn, exporter.buffer, request);
    umem.setRevokeLocked(held, () => {
      exporter.steps.push("callback");
    });
    held.release();
    exporter.steps.length = 0;
    return { exporter, umem };
  }

  it("rdma-umem R12, R13, B40: callback, unmap, unpin, all before the notification returns; once", async () => {
    const { exporter, umem } = await pinned();
    const held = exporter.buffer.reservation.lockNow();
    exporter.buffer.invalidateMappings(held);
    expect(exporter.steps).toEqual(["callback", "unmap", "unpin"]);
    expect([umem.revoked, umem.mapped, umem.pinned]).toEqual([true, false, false]);
    exporter.buffer.invalidateMappings(held);
    held.release();
    await umem.revoke();
    expect(exporter.steps).toEqual(["callback", "unmap", "unpin"]);
  });

  it("rdma-umem R14: there is no un-revoke", async () => {
    const { exporter, umem } = await pinned();
    await exporter.move(true);
    await exporter.move(false);
    const held = await exporter.buffer.reservation.lock();
    await expect(umem.mapPages(held)).rejects.toMatchObject({ code: "EINVAL" });
    held.release();
    expect(umem.revoked).toBe(true);
  });

  it("rdma-umem R13, R15, B41: release revokes, detaches, puts; twice, and beside a revoke, once", async () => {
    const { exporter, umem } = await pinned();
    await Promise.all([umem.release(), exporter.move(true), umem.release()]);
    expect(exporter.steps).toEqual(["callback", "unmap", "unpin", "detach"]);
    expect(exporter.buffer.references).toBe(1);
  });

  it("rdma-umem R15, B35: releasing under the lock is EDEADLK, and nothing has happened", async () => {
    const { exporter, umem } = await pinned();
    const held = exporter.buffer.reservation.lockNow();
    await expect(umem.release()).rejects.toMatchObject({ code: "EDEADLK" });
    held.release();
    expect(exporter.steps).toEqual([]);
    await umem.release();
    expect(exporter.attachments).toBe(0);
  });
});
