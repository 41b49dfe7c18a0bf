import { describe, expect, it } from "vitest";
import { FenceContext, iova, POLLIN, POLLOUT, SEEK_SET } from "../src/index.js";
import { errorOf, settle } from "./fixtures/expect-error.js";
import { buffer, device, EventLog, importer, RecordingExporter } from "./fixtures/exporter.js";

describe("the events of a buffer", () => {
  it("carry its label and number, and what changed, to the last field", async () => {
    const events = new EventLog();
    const ops = new RecordingExporter({ pins: true, size: 0x1_0000 });
    const { buffer: made } = buffer(ops, { events, name: "bar2" });
    const of = { buffer: "bar2", inode: 1 };
    const by = { ...of, attachment: "nic.1" };
    const since = () => events.events.splice(0);
    expect(since()).toEqual([{ type: "export", ...of, exporter: "recorder", size: 0x1_0000n }]);

    const attachment = made.attach(device("nic"), importer());
    expect(since()).toEqual([{ type: "attach", ...by, device: "nic", kind: "dynamic" }]);

    const held = await made.reservation.lock();
    expect(since()).toEqual([{ type: "lock", lock: "bar2" }]);
    attachment.pin(held);
    const table = attachment.map("to-device", held);
    attachment.open("phys", held);
    attachment.unmap(table, "to-device", held);
    attachment.unpin(held);
    expect(since()).toEqual([
      { type: "pin", ...by },
      {
        type: "map",
        ...by,
        mapping: 1,
        entries: 1,
        size: 0x1_0000n,
        first: iova(0x100_0000n),
        space: "bus",
      },
      { type: "open", ...by, interconnect: "phys" },
      { type: "unmap", ...by, mapping: 1 },
      { type: "unpin", ...by },
    ]);
    made.invalidateMappings(held);
    made.vunmap(made.vmap(held), held);
    expect(since()).toEqual([
      { type: "invalidate", ...of, attachments: 1 },
      { type: "vmap", ...of, count: 1 },
      { type: "vunmap", ...of, count: 0 },
    ]);
    for (const operation of ["map", "pin", "open"] as const) {
      ops.fail.set(operation, "ENODEV");
      errorOf(() => {
        if (operation === "map") attachment.map("to-device", held);
        else if (operation === "pin") attachment.pin(held);
        else attachment.open("phys", held);
      });
      expect(since()).toEqual([{ type: "refuse", ...by, operation, code: "ENODEV" }]);
    }
    ops.onCall = () => {
      throw new TypeError("a defect of the exporter");
    };
    expect(() => attachment.map("to-device", held)).toThrow(TypeError);
    expect(since()).toEqual([{ type: "refuse", ...by, operation: "map", code: "unknown" }]);
    ops.onCall = undefined;
    ops.fail.clear();

    const fence = new FenceContext(7, "job").next();
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, fence, "write");
    held.release();
    fence.signal();
    expect(since()).toEqual([
      { type: "fence", lock: "bar2", fence: "job:7#1", usage: "write" },
      { type: "unlock", lock: "bar2" },
      { type: "signal", lock: "bar2", fence: "job:7#1" },
    ]);

    await made.beginCpuAccess("from-device");
    await made.endCpuAccess("to-device");
    made.setName("frame");
    expect(since()).toEqual([
      { type: "cpu-begin", ...of, direction: "from-device" },
      { type: "cpu-end", ...of, direction: "to-device" },
      { type: "name", ...of, name: "frame" },
    ]);
    made.mmap({ offset: 0x1000n, length: 1n }).unmap();
    made.get().put();
    expect(since()).toEqual([
      { type: "get", ...of, count: 2 },
      { type: "mmap", ...of, size: 0x1000n },
      { type: "put", ...of, count: 1 },
      { type: "munmap", ...of, size: 0x1000n },
      { type: "get", ...of, count: 2 },
      { type: "put", ...of, count: 1 },
    ]);
    attachment.detach();
    made.close();
    await settle();
    expect(since()).toEqual([
      { type: "detach", ...by },
      { type: "put", ...of, count: 0 },
      { type: "release", ...of },
    ]);
  });

  it("tell of a poll that is armed, and of its end (dma-buf R48)", async () => {
    const events = new EventLog();
    const { buffer: made } = buffer(undefined, { events, name: "bar2" });
    const fence = new FenceContext(1, "job").next();
    const held = await made.reservation.lock();
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, fence, "kernel");
    held.release();
    events.events.length = 0;
    made.poll(POLLIN | POLLOUT);
    fence.signal();
    const seen = events.events.filter(({ type }) => type.startsWith("poll"));
    const of = { buffer: "bar2", inode: 1 };
    expect(seen).toEqual([
      { type: "poll-arm", ...of, direction: "out" },
      { type: "poll-arm", ...of, direction: "in" },
      { type: "poll-fire", ...of, direction: "out" },
      { type: "poll-fire", ...of, direction: "in" },
    ]);
  });

  it("are not needed: every operation works without a sink", async () => {
    const ops = new RecordingExporter({ pins: true, size: 0x1_0000 });
    const { buffer: made } = buffer(ops);
    expect(made.label).toBe("recorder");
    const attachment = made.attach(device("nic"), importer());
    const held = await made.reservation.lock();
    attachment.pin(held);
    attachment.unmap(attachment.map("to-device", held), "to-device", held);
    attachment.open("phys", held);
    made.invalidateMappings(held);
    made.vunmap(made.vmap(held), held);
    ops.fail.set("map", "ENOMEM");
    expect(errorOf(() => attachment.map("to-device", held))?.code).toBe("ENOMEM");
    attachment.unpin(held);
    const fence = new FenceContext(1, "job").next();
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, fence, "kernel");
    held.release();
    expect(made.poll(POLLIN)).toBe(0);
    fence.signal();
    await made.beginCpuAccess("from-device");
    await made.endCpuAccess("from-device");
    made.mmap({ offset: 0n, length: 1n }).unmap();
    made.setName("n");
    expect(made.seek(0n, SEEK_SET)).toBe(0n);
    made.get().put();
    attachment.detach();
    made.close();
    await settle();
    expect(ops.log.at(-1)).toBe("release");
  });
});
