import { describe, expect, it } from "vitest";
import { DmaBufRegistry, FenceContext } from "../src/index.js";
import { settle } from "./fixtures/expect-error.js";
import { buffer, device, importer, locked, RecordingExporter } from "./fixtures/exporter.js";

describe("the registry", () => {
  it("lists live buffers with exporter, name, attachments, mappings, pins and fences (dma-buf R52)", () => {
    const registry = new DmaBufRegistry();
    const { buffer: made } = buffer(new RecordingExporter({ pins: true }), {
      registry,
      name: "bar2",
      flags: 2,
    });
    const scheduled = made.attach(device("0000:19:00.0"), importer());
    made.attach(device("static"));
    made.setName("frame");
    locked(made, (held) => {
      scheduled.pin(held);
      scheduled.map("to-device", held);
      scheduled.map("to-device", held);
      made.vmap(held);
      made.reservation.reserveFences(held, 2);
      const done = new FenceContext(1, "copy").next();
      made.reservation.addFence(held, done, "kernel");
      made.reservation.addFence(held, new FenceContext(2, "job").next(), "bookkeep");
      done.signal();
      expect(registry.list()[0]?.locked).toBe(true);
    });
    made.get();
    expect(registry.list()).toEqual([
      {
        inode: 1,
        size: 0x1_0000n,
        flags: 2,
        count: 2,
        exporter: "recorder",
        label: "bar2",
        name: "frame",
        locked: false,
        attachments: [
          {
            name: "0000:19:00.0.1",
            device: "0000:19:00.0",
            kind: "dynamic",
            peer2peer: true,
            mappings: 2,
            pins: 1,
          },
          {
            name: "static.2",
            device: "static",
            kind: "static",
            peer2peer: false,
            mappings: 0,
            pins: 0,
          },
        ],
        mappings: 2,
        pins: 1,
        vmaps: 1,
        fences: [
          { name: "copy:1#1", usage: "kernel", signaled: true },
          { name: "job:2#1", usage: "bookkeep", signaled: false },
        ],
      },
    ]);
    expect(String(registry)).toBe(
      [
        "ino 1 size 65536 count 2 exporter recorder name frame",
        "  fence copy:1#1 kernel signalled",
        "  fence job:2#1 bookkeep",
        "  attached 0000:19:00.0.1 dynamic p2p mappings 2 pins 1",
        "  attached static.2 static mappings 0 pins 0",
        "  2 devices attached",
        "",
        "1 buffers, 65536 bytes",
        "",
      ].join("\n"),
    );
  });

  it("is the caller's own, and sums beyond 2^53 (dma-buf R7, R52)", async () => {
    const [mine, other] = [new DmaBufRegistry(), new DmaBufRegistry()];
    const size = 1n << 62n;
    const made = [1, 2, 3].map(() => buffer(undefined, { registry: mine, size }).buffer);
    buffer(undefined, { registry: other });
    expect([mine.size, mine.bytes, other.size]).toEqual([3, 3n << 62n, 1]);
    // Nobody has named them, and the listing makes no name up.
    expect(String(other)).toMatch(/^ino 1 size 65536 count 1 exporter recorder\n/);
    made[1]?.close();
    await settle();
    expect([mine.size, mine.list().length]).toEqual([2, 2]);
  });
});
