import { describe, expect, it } from "vitest";
import {
  DMA_BUF_IOCTL_EXPORT_SYNC_FILE,
  DMA_BUF_IOCTL_IMPORT_SYNC_FILE,
  DMA_BUF_IOCTL_SYNC,
  DMA_BUF_SET_NAME_A,
  DMA_BUF_SET_NAME_B,
  type DmaBuf,
  FdTable,
  FenceArray,
  FenceContext,
  ioctl,
  SyncFile,
} from "../src/index.js";
import { rejectionOf, settle } from "./fixtures/expect-error.js";
import { buffer, type RecordingExporter } from "./fixtures/exporter.js";

function opened(limit = 16): { fds: FdTable; fd: number; made: DmaBuf; ops: RecordingExporter } {
  const fds = new FdTable({ limit });
  const { buffer: made, ops } = buffer();
  return { fds, fd: fds.fd(made), made, ops };
}

function u64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

function syncArgument(flags: number, fd = -1): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, flags, true);
  view.setInt32(4, fd, true);
  return bytes;
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

describe("request numbers", () => {
  it("are the kernel's (dma-buf R41, R44, R45, R46)", () => {
    const numbers = [
      DMA_BUF_IOCTL_SYNC,
      DMA_BUF_SET_NAME_A,
      DMA_BUF_SET_NAME_B,
      DMA_BUF_IOCTL_EXPORT_SYNC_FILE,
      DMA_BUF_IOCTL_IMPORT_SYNC_FILE,
    ];
    // _IOC(direction, 'b', number, size), computed here apart.
    const code = (direction: number, number: number, size: number): number =>
      ((direction << 30) | (size << 16) | (0x62 << 8) | number) >>> 0;
    expect(numbers).toEqual([
      code(1, 0, 8),
      code(1, 1, 4),
      code(1, 1, 8),
      code(3, 2, 8),
      code(1, 3, 8),
    ]);
  });

  it("other than these are ENOTTY, FIONREAD too; a closed descriptor is EBADF (dma-buf R53)", async () => {
    const { fds, fd, made } = opened();
    expect(await rejectionOf(ioctl(fds, fd, 0x541b, u64(0n)))).toEqual({
      code: "ENOTTY",
      rule: "dma-buf R53",
    });
    expect((await rejectionOf(ioctl(fds, 9, DMA_BUF_IOCTL_SYNC, u64(1n))))?.code).toBe("EBADF");
    expect(made.references).toBe(1);
  });
});

describe("SYNC", () => {
  it("turns flags into directions, begin and end (dma-buf R41)", async () => {
    const { fds, fd, ops } = opened();
    for (const flags of [1n, 2n, 3n, 5n, 6n, 7n])
      expect(await ioctl(fds, fd, DMA_BUF_IOCTL_SYNC, u64(flags))).toBe(0);
    const directions = ["from-device", "to-device", "bidirectional"];
    expect(ops.log).toEqual([
      ...directions.flatMap((direction) => [direction, "beginCpuAccess"]),
      ...directions.flatMap((direction) => [direction, "endCpuAccess"]),
    ]);
  });

  it("checks the pointer, then the bits, then that there is an access (dma-buf R41)", async () => {
    const { fds, fd, ops } = opened();
    for (const bad of [undefined, new Uint8Array(7)]) {
      expect((await rejectionOf(ioctl(fds, fd, DMA_BUF_IOCTL_SYNC, bad)))?.code).toBe("EFAULT");
    }
    for (const flags of [0n, 4n, 8n, 9n, 1n << 32n, (1n << 63n) | 1n]) {
      expect(await rejectionOf(ioctl(fds, fd, DMA_BUF_IOCTL_SYNC, u64(flags)))).toEqual({
        code: "EINVAL",
        rule: "dma-buf R41",
      });
    }
    expect(ops.log).toEqual([]);
  });

  it("keeps the buffer while it waits (dma-buf R42)", async () => {
    const { fds, fd, made, ops } = opened();
    const fence = new FenceContext(1, "gpu").next();
    const held = made.reservation.lockNow();
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, fence, "write");
    held.release();
    const waiting = ioctl(fds, fd, DMA_BUF_IOCTL_SYNC, u64(1n));
    await settle();
    fds.close(fd);
    expect(made.released).toBe(false);
    fence.signal();
    await waiting;
    expect(made.released).toBe(true);
    await settle();
    expect(ops.log.at(-1)).toBe("release");
  });
});

describe("SET_NAME", () => {
  it("takes up to 31 bytes and a NUL (dma-buf R44)", async () => {
    const { fds, fd, made } = opened();
    const set = (bytes: Uint8Array | undefined, request = DMA_BUF_SET_NAME_B) =>
      rejectionOf(ioctl(fds, fd, request, bytes));
    expect(await set(text(`${"x".repeat(31)}\0`))).toBeUndefined();
    expect(made.name).toBe("x".repeat(31));
    expect((await set(text("y".repeat(33))))?.code).toBe("EINVAL");
    expect((await set(text("y".repeat(32))))?.code).toBe("EINVAL");
    expect((await set(text("no end")))?.code).toBe("EFAULT");
    expect((await set(undefined))?.code).toBe("EFAULT");
    expect(made.name).toBe("x".repeat(31));
    expect(await set(text("größe\0rest"), DMA_BUF_SET_NAME_A)).toBeUndefined();
    expect(made.name).toBe("größe");
    expect(await set(new Uint8Array([0xff, 0x41, 0]))).toBeUndefined();
    expect(made.name).toBe("\u00ffA");
  });
});

describe("EXPORT_SYNC_FILE", () => {
  it("checks pointer, flags, descriptor, in this order (dma-buf R45)", async () => {
    const { fds, fd } = opened(1);
    const run = (bytes: Uint8Array | undefined) =>
      rejectionOf(ioctl(fds, fd, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, bytes)).then(
        (error) => error?.code,
      );
    expect(await run(undefined)).toBe("EFAULT");
    expect([await run(syncArgument(4)), await run(syncArgument(0))]).toEqual(["EINVAL", "EINVAL"]);
    expect(await run(syncArgument(3))).toBe("EMFILE");
    expect(fds.open).toEqual([fd]);
  });

  it("gives a close-on-exec descriptor with what such an access waits for (dma-buf R45)", async () => {
    const { fds, fd, made } = opened();
    const [write, read] = [new FenceContext(1, "w").next(), new FenceContext(2, "r").next()];
    const held = made.reservation.lockNow();
    made.reservation.reserveFences(held, 2);
    made.reservation.addFence(held, write, "write");
    made.reservation.addFence(held, read, "read");
    held.release();
    const fences = async (flags: number) => {
      const argument = syncArgument(flags);
      await ioctl(fds, fd, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, argument);
      const made = new DataView(argument.buffer).getInt32(4, true);
      expect(fds.isCloseOnExec(made)).toBe(true);
      return fds.syncFile(made).fence;
    };
    expect(await fences(1)).toBe(write);
    expect((await fences(2)).parts).toEqual([write, read]);
    const both = await fences(3);
    expect(both.parts).toEqual([write, read]);
    write.signal();
    read.signal();
    // A snapshot stays; a new one of an idle buffer is the signalled stub.
    expect([both.signaled, (await fences(2)).name]).toEqual([true, "stub"]);
  });
});

describe("IMPORT_SYNC_FILE", () => {
  it("checks pointer, flags, and that it is a sync file (dma-buf R46)", async () => {
    const { fds, fd, made } = opened();
    const run = (bytes: Uint8Array | undefined) =>
      rejectionOf(ioctl(fds, fd, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, bytes)).then(
        (error) => error?.code,
      );
    expect(await run(new Uint8Array(4))).toBe("EFAULT");
    expect([await run(syncArgument(0, fd)), await run(syncArgument(5, fd))]).toEqual([
      "EINVAL",
      "EINVAL",
    ]);
    expect([await run(syncArgument(1, fd)), await run(syncArgument(1, 12))]).toEqual([
      "EINVAL",
      "EINVAL",
    ]);
    expect(made.reservation.fences).toEqual([]);
  });

  it("adds every plain fence as WRITE or READ, containers taken apart (dma-buf R46)", async () => {
    const { fds, fd, made } = opened();
    const [a, b] = [new FenceContext(1, "a").next(), new FenceContext(2, "b").next()];
    const install = (file: SyncFile): number => {
      const number = fds.reserve();
      fds.install(number, file);
      return number;
    };
    const array = install(new SyncFile(new FenceArray([a, new FenceArray([b])])));
    await ioctl(fds, fd, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, syncArgument(1, array));
    expect(made.reservation.fences.map(({ fence, usage }) => [fence.name, usage])).toEqual([
      [a.name, "read"],
      [b.name, "read"],
    ]);
    await ioctl(fds, fd, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, syncArgument(3, install(new SyncFile(a))));
    expect(made.reservation.pending("write")).toEqual([a]);
    await ioctl(
      fds,
      fd,
      DMA_BUF_IOCTL_IMPORT_SYNC_FILE,
      syncArgument(1, install(new SyncFile(new FenceArray([])))),
    );
    expect(made.reservation.isLocked).toBe(false);
  });

  it("waits for the reservation and may be interrupted there (dma-buf R46)", async () => {
    const { fds, fd, made } = opened();
    const file = fds.reserve();
    fds.install(file, new SyncFile(new FenceContext(1, "a").next()));
    const held = await made.reservation.lock();
    const abort = new AbortController();
    const waiting = ioctl(fds, fd, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, syncArgument(1, file), {
      signal: abort.signal,
    });
    await settle();
    expect(made.reservation.waiters).toBe(1);
    abort.abort();
    expect((await rejectionOf(waiting))?.code).toBe("EINTR");
    expect([made.reservation.fences.length, made.references]).toEqual([0, 1]);
    held.release();
  });
});

describe("a kernel without sync files", () => {
  it("knows neither request (dma-buf R47)", async () => {
    const { fds, fd } = opened();
    for (const request of [DMA_BUF_IOCTL_EXPORT_SYNC_FILE, DMA_BUF_IOCTL_IMPORT_SYNC_FILE]) {
      expect(
        await rejectionOf(ioctl(fds, fd, request, syncArgument(1), { syncFiles: false })),
      ).toEqual({
        code: "ENOTTY",
        rule: "dma-buf R47",
      });
    }
    expect(await ioctl(fds, fd, DMA_BUF_IOCTL_SYNC, u64(1n), { syncFiles: false })).toBe(0);
  });
});
