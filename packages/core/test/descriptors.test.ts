import { describe, expect, it } from "vitest";
import {
  dispose,
  DMA_BUF_IOCTL_EXPORT_SYNC_FILE as EXPORT,
  FdTable,
  FenceContext,
  DMA_BUF_IOCTL_IMPORT_SYNC_FILE as IMPORT,
  ioctl,
  MicrotaskScheduler,
  DMA_BUF_SET_NAME_A as NAME,
  DMA_BUF_IOCTL_SYNC as SYNC,
  SyncFile,
} from "../src/index.js";
import { told } from "./fixtures/expect-error.js";
import { buffer, device, importer, RecordingExporter } from "./fixtures/exporter.js";

function opened() {
  const fds = new FdTable();
  const { buffer: made, ops } = buffer(new RecordingExporter({ size: 0x1_0000 }));
  return { fds, made, ops, fd: fds.fd(made) };
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe("an ioctl that is refused names the operation behind the number", () => {
  const rows: readonly (readonly [number, Uint8Array | undefined, string])[] = [
    [SYNC, undefined, "EFAULT dmabuf.sync -"],
    [SYNC, new Uint8Array(7), "EFAULT dmabuf.sync -"],
    [SYNC, bytes(0x11, 0, 0, 0, 0, 0, 0, 0), "EINVAL dmabuf.sync dma-buf R41"],
    [SYNC, bytes(4, 0, 0, 0, 0, 0, 0, 0), "EINVAL dmabuf.sync dma-buf R41"],
    [SYNC, bytes(0, 0, 0, 0, 0, 0, 0, 0), "EINVAL dmabuf.sync dma-buf R41"],
    [SYNC, bytes(1, 0, 0, 0, 0, 0, 0, 1), "EINVAL dmabuf.sync dma-buf R41"],
    [EXPORT, new Uint8Array(7), "EFAULT dmabuf.exportSyncFile -"],
    [EXPORT, new Uint8Array(8), "EINVAL dmabuf.exportSyncFile dma-buf R45"],
    [IMPORT, new Uint8Array(7), "EFAULT dmabuf.importSyncFile -"],
    [IMPORT, new Uint8Array(8), "EINVAL dmabuf.importSyncFile dma-buf R46"],
    [IMPORT, bytes(1, 0, 0, 0, 9, 0, 0, 0), "EINVAL fdtable.syncFile dma-buf R46"],
    [NAME, undefined, "EFAULT dmabuf.setName -"],
    [NAME, bytes(65, 66), "EFAULT dmabuf.setName -"],
    [NAME, new Uint8Array(32).fill(65), "EINVAL dmabuf.setName dma-buf R44"],
    [0x1234, undefined, "ENOTTY ioctl dma-buf R53"],
  ];

  it.each(rows)("request %i, case %#", async (request, argument, expected) => {
    const { fds, fd, made } = opened();
    expect(await told(() => ioctl(fds, fd, request, argument))).toBe(expected);
    expect([made.references, made.name]).toEqual([1, undefined]);
  });

  it("and of a kernel without sync files", async () => {
    const { fds, fd } = opened();
    for (const request of [EXPORT, IMPORT]) {
      const call = () => ioctl(fds, fd, request, undefined, { syncFiles: false });
      expect(await told(call)).toBe("ENOTTY ioctl dma-buf R47");
    }
  });
});

describe("SET_NAME", () => {
  it("takes an empty name, and UTF-8 beside control characters (dma-buf R44)", async () => {
    const { fds, fd, made } = opened();
    await ioctl(fds, fd, NAME, bytes(0x09, 0xc3, 0xa9, 0));
    expect(made.name).toBe("\té");
    await ioctl(fds, fd, NAME, bytes(0));
    expect(made.name).toBe("");
  });
});

describe("descriptors", () => {
  it("that are not there are refused by the operation that asked (dma-buf R5, R46)", async () => {
    const { fds, fd } = opened();
    expect(await told(() => fds.get(9))).toBe("EBADF dmabuf.get dma-buf R5");
    expect(await told(() => fds.dup(9))).toBe("EBADF dup dma-buf R5");
    expect(await told(() => fds.syncFile(fd))).toBe("EINVAL fdtable.syncFile dma-buf R46");
    expect(await told(() => fds.readlink(9))).toBe("EBADF readlink dma-buf R5");
  });

  it("use 0 again too, and close whatever they stand for (dma-buf R3)", () => {
    const fds = new FdTable();
    const other = fds.reserve();
    fds.install(other, { description: "a socket" });
    const file = new SyncFile(new FenceContext(1, "job").next());
    const sync = fds.reserve();
    fds.install(sync, file);
    expect([fds.open, fds.syncFile(sync)]).toEqual([[0, 1], file]);
    const copy = fds.dup(sync, { closeOnExec: true });
    expect([fds.syncFile(copy), fds.isCloseOnExec(copy), fds.isCloseOnExec(sync)]).toEqual([
      file,
      true,
      false,
    ]);
    fds.close(other);
    expect(fds.reserve()).toBe(0);
    fds.close(sync);
    expect(fds.open).toEqual([2]);
  });

  it("end with their table: reserved ones, holes, and all others where one cannot go (dma-buf R6)", () => {
    const fds = new FdTable();
    const made = [0, 1, 2].map(() => buffer(new RecordingExporter()).buffer);
    const [hole, stuck, last] = made.map((one) => fds.fd(one));
    const reserved = fds.reserve();
    expect([hole, stuck, last, reserved]).toEqual([0, 1, 2, 3]);
    fds.close(0);
    const attachment = made[1]?.attach(device("nic"), importer());
    expect(() => {
      fds[dispose]();
    }).toThrow(expect.objectContaining({ rule: "dma-buf R6" }));
    expect([fds.open, made[2]?.released]).toEqual([[1], true]);
    expect([fds.reserve(), fds.reserve(), fds.reserve()]).toEqual([0, 2, 3]);
    attachment?.detach();
    fds[dispose]();
    expect([fds.open, made[1]?.released]).toEqual([[], true]);
    fds[dispose]();
  });
});

describe("the plain scheduler", () => {
  it("yields one turn of the job queue", async () => {
    const order: string[] = [];
    const scheduler = new MicrotaskScheduler();
    const first = (async () => {
      await scheduler.yield({ kind: "yield", on: "test" });
      order.push("after");
    })();
    order.push("others");
    await first;
    expect(order).toEqual(["others", "after"]);
  });
});
