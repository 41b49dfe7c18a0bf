import { describe, expect, it } from "vitest";
import { dispose, FdTable, SyncFile, signaledFence } from "../src/index.js";
import { errorOf, settle } from "./fixtures/expect-error.js";
import { buffer, device } from "./fixtures/exporter.js";

describe("a descriptor", () => {
  it("consumes the creator's reference (dma-buf R3)", async () => {
    const fds = new FdTable();
    const { buffer: made, ops } = buffer();
    const fd = fds.fd(made);
    made.close();
    expect([fd, made.references]).toEqual([0, 1]);
    fds.close(fd);
    await settle();
    expect(ops.log).toEqual(["release"]);
  });

  it("consumes any reference given, once (dma-buf R3)", () => {
    const fds = new FdTable();
    const { buffer: made } = buffer();
    const reference = made.get();
    fds.fd(reference);
    reference.put();
    expect(made.references).toBe(2);
    expect(errorOf(() => fds.fd(reference))?.code).toBe("EBADF");
    expect(fds.open).toEqual([0]);
  });

  it("that cannot be had leaves the reference with the caller (dma-buf R3)", () => {
    const fds = new FdTable({ limit: 1 });
    const [a, b] = [buffer().buffer, buffer().buffer];
    fds.fd(a);
    expect(errorOf(() => fds.fd(b))?.code).toBe("EMFILE");
    expect(b.references).toBe(1);
    b.close();
    expect(b.released).toBe(true);
    expect(errorOf(() => fds.fd(undefined))).toEqual({ code: "EINVAL", rule: "dma-buf R3" });
  });

  it("is the lowest free number, up to the limit (dma-buf R3)", () => {
    const fds = new FdTable({ limit: 3 });
    const made = [0, 1, 2].map(() => buffer().buffer);
    expect(made.map((one) => fds.fd(one))).toEqual([0, 1, 2]);
    fds.close(1);
    const [again, beyond] = [buffer().buffer, buffer().buffer];
    expect(fds.fd(again)).toBe(1);
    expect(errorOf(() => fds.fd(beyond))?.code).toBe("EMFILE");
    expect(errorOf(() => new FdTable({ limit: -1 }))?.code).toBe("EINVAL");
  });

  it("is reserved first and published last; until then nobody finds it (dma-buf R4)", () => {
    const fds = new FdTable();
    const { buffer: made } = buffer();
    const fd = fds.reserve({ closeOnExec: true });
    expect([errorOf(() => fds.get(fd))?.code, errorOf(() => fds.close(fd))?.code]).toEqual([
      "EBADF",
      "EBADF",
    ]);
    expect(fds.open).toEqual([]);
    fds.install(fd, made);
    expect([fds.open, fds.isCloseOnExec(fd)]).toEqual([[fd], true]);
    // Irrevocable: neither taken back nor published twice.
    const refused = { code: "ERR_PROTOCOL", rule: "dma-buf R4" };
    expect(errorOf(() => fds.unreserve(fd))).toEqual(refused);
    const other = buffer().buffer;
    expect(errorOf(() => fds.install(fd, other))).toEqual(refused);
    expect(errorOf(() => fds.install(7, other))).toEqual(refused);
    expect(other.references).toBe(1);
    const unused = fds.reserve();
    fds.unreserve(unused);
    expect(fds.reserve()).toBe(unused);
  });

  it("gives one more reference; nothing there is EBADF, another file EINVAL (dma-buf R5)", () => {
    const fds = new FdTable();
    const { buffer: made } = buffer();
    const fd = fds.fd(made);
    const reference = fds.get(fd);
    expect([reference.buffer, made.references]).toEqual([made, 2]);
    for (const wrong of [-1, 5, 0.5, Number.NaN]) {
      expect(errorOf(() => fds.get(wrong))).toEqual({ code: "EBADF", rule: "dma-buf R5" });
    }
    const socket = fds.reserve();
    fds.install(socket, { description: "socket" });
    expect(errorOf(() => fds.get(socket))).toEqual({ code: "EINVAL", rule: "dma-buf R5" });
    fds.close(fd);
    expect(errorOf(() => fds.get(fd))?.code).toBe("EBADF");
    expect(reference.buffer.released).toBe(false);
  });

  it("duplicated is another number for the same buffer, each with a reference (dma-buf R5)", () => {
    const fds = new FdTable();
    const { buffer: made } = buffer();
    const fd = fds.fd(made, { closeOnExec: true });
    const copy = fds.dup(fd);
    expect([made.references, fds.isCloseOnExec(copy)]).toEqual([2, false]);
    fds.close(fd);
    expect(fds.get(copy).buffer).toBe(made);
    expect(errorOf(() => fds.dup(fd))?.code).toBe("EBADF");
    const sync = fds.reserve();
    fds.install(sync, new SyncFile(signaledFence));
    expect(fds.syncFile(fds.dup(sync)).fence).toBe(signaledFence);
  });

  it("stays open where its last reference cannot go (dma-buf R6)", () => {
    const fds = new FdTable();
    const { buffer: made } = buffer();
    const fd = fds.fd(made);
    const attachment = made.attach(device("a"));
    expect(errorOf(() => fds.close(fd))?.rule).toBe("dma-buf R6");
    expect(errorOf(() => fds[dispose]())?.rule).toBe("dma-buf R6");
    expect([fds.open, made.references]).toEqual([[fd], 1]);
    attachment.detach();
    fds[dispose]();
    expect([fds.open, made.released]).toEqual([[], true]);
  });

  it("shows size, count, exporter and name in fdinfo and readlink (dma-buf R44, R51)", () => {
    const fds = new FdTable();
    const { buffer: made } = buffer();
    const fd = fds.fd(made);
    expect(fds.fdinfo(fd)).toBe("size:\t65536\ncount:\t1\nexp_name:\trecorder\n");
    expect(fds.readlink(fd)).toBe("/dmabuf:");
    fds.dup(fd);
    made.setName("frame");
    expect(fds.fdinfo(fd)).toBe("size:\t65536\ncount:\t2\nexp_name:\trecorder\nname:\tframe\n");
    expect(fds.readlink(fd)).toBe("/dmabuf:frame");
    expect(errorOf(() => fds.fdinfo(9))?.code).toBe("EBADF");
  });
});
