import { describe, expect, it } from "vitest";
import { ChromeTrace, type DmaBufEvent, iova, type TraceEvent } from "../src/index.js";

const of = { buffer: "bar2", inode: 4 };
const by = { ...of, attachment: "nic.1" };

/** The trace of these events, one microsecond apart, without the name of the process. */
function traced(...events: DmaBufEvent[]): readonly TraceEvent[] {
  const trace = new ChromeTrace();
  for (const event of events) trace.emit(event);
  const file = trace.toJSON();
  expect(file.displayTimeUnit).toBe("ns");
  const [process, ...rest] = file.traceEvents;
  expect(process).toEqual({
    name: "process_name",
    ph: "M",
    cat: "__metadata",
    pid: 1,
    tid: 0,
    ts: 0,
    args: { name: "peerbar" },
  });
  return rest;
}

/** A lane is named as its first event comes. */
const lane = (tid: number, name: string): TraceEvent => ({
  name: "thread_name",
  ph: "M",
  cat: "__metadata",
  pid: 1,
  tid,
  ts: 0,
  args: { name },
});

const entry = (ph: TraceEvent["ph"], name: string, tid: number, ts: number, args: object) => ({
  name,
  ph,
  cat: "dma-buf",
  pid: 1,
  tid,
  ts,
  args,
  ...(ph === "i" ? { s: "t" } : {}),
  ...(ph === "b" || ph === "e" ? { id: name } : {}),
});

const map = (mapping: number): DmaBufEvent => ({
  type: "map",
  ...by,
  mapping,
  entries: 1,
  size: 0x2000n,
  first: iova(0x1000n),
  space: "iova",
});
const mapArguments = (mapping: number) => ({
  ...by,
  mapping,
  entries: 1,
  size: "8192",
  first: "4096",
  space: "iova",
});

describe("the lines of a trace", () => {
  it("of a buffer and its attachments: spans with the fields of their events, bigints as text", () => {
    const attach = { ...by, device: "nic", kind: "dynamic" };
    const lines = traced(
      { type: "export", ...of, exporter: "vfio", size: 0x2000n },
      { type: "attach", ...attach },
      map(1),
      map(2),
      { type: "pin", ...by },
      { type: "unmap", ...by, mapping: 1 },
      { type: "unmap", ...by, mapping: 2 },
      { type: "detach", ...by },
      { type: "put", ...of, count: 0 },
      { type: "release", ...of },
    );
    expect(lines).toEqual([
      lane(1, "buffer bar2"),
      entry("B", "bar2", 1, 1, { ...of, exporter: "vfio", size: "8192" }),
      lane(2, "bar2 nic.1"),
      entry("B", "nic.1", 2, 2, attach),
      entry("B", "map 1", 2, 3, mapArguments(1)),
      lane(3, "bar2 nic.1 (2)"),
      entry("B", "map 2", 3, 4, mapArguments(2)),
      entry("i", "pin", 2, 5, by),
      entry("E", "map 1", 2, 6, { ...by, mapping: 1 }),
      entry("E", "map 2", 3, 7, { ...by, mapping: 2 }),
      entry("E", "nic.1", 2, 8, by),
      entry("i", "put", 1, 9, { ...of, count: 0 }),
      entry("E", "bar2", 1, 10, of),
    ]);
  });

  it("of a lock and its fences: fences may overlap, so they have an id", () => {
    const fence = (type: "fence" | "signal", name: string): DmaBufEvent =>
      type === "fence"
        ? { type, lock: "resv1", fence: name, usage: "write" }
        : { type, lock: "resv1", fence: name };
    const lines = traced(
      { type: "lock", lock: "resv1" },
      fence("fence", "a"),
      fence("fence", "b"),
      { type: "unlock", lock: "resv1" },
      fence("signal", "a"),
      { type: "lock", lock: "other" },
    );
    const names = { lock: "resv1" };
    expect(lines).toEqual([
      lane(1, "lock resv1"),
      entry("B", "held", 1, 1, names),
      entry("b", "a", 1, 2, { ...names, fence: "a", usage: "write" }),
      entry("b", "b", 1, 3, { ...names, fence: "b", usage: "write" }),
      entry("E", "held", 1, 4, names),
      entry("e", "a", 1, 5, { ...names, fence: "a" }),
      lane(2, "lock other"),
      entry("B", "held", 2, 6, { lock: "other" }),
      // Open still: ends with the copy that is written.
      { name: "held", ph: "E", cat: "dma-buf", pid: 1, tid: 2, ts: 6 },
    ]);
  });

  it("of three mappings at once have three lanes, and a lane is used again", () => {
    const lines = traced(
      { type: "attach", ...by, device: "nic", kind: "dynamic" },
      ...[map(1), map(2), map(3)],
      { type: "unmap", ...by, mapping: 2 },
      map(4),
    );
    const begun = lines.filter(({ ph }) => ph === "B").map(({ name, tid }) => [name, tid]);
    expect(begun).toEqual([
      ["nic.1", 1],
      ["map 1", 1],
      ["map 2", 2],
      ["map 3", 3],
      ["map 4", 2],
    ]);
  });

  it("that end what began before the trace are instants, each in its own lane", () => {
    const lines = traced(
      { type: "unmap", ...by, mapping: 7 },
      { type: "detach", ...by },
      { type: "release", ...of },
      { type: "unlock", lock: "resv1" },
    );
    expect(lines).toEqual([
      lane(1, "bar2 nic.1"),
      entry("i", "unmap", 1, 1, { ...by, mapping: 7 }),
      entry("i", "detach", 1, 2, by),
      lane(2, "buffer bar2"),
      entry("i", "release", 2, 3, of),
      lane(3, "lock resv1"),
      entry("i", "unlock", 3, 4, { lock: "resv1" }),
    ]);
  });

  it("of other packages go to the buffer they name, by number or by the label it had last", () => {
    const foreign = (event: object) => event as DmaBufEvent;
    const lines = traced(
      foreign({ type: "zap", device: "nic", views: 2 }),
      { type: "export", ...of, exporter: "vfio", size: 0x1000n },
      { type: "export", buffer: "bar2", inode: 5, exporter: "vfio", size: 0x1000n },
      foreign({ type: "revoke", buffer: "bar2" }),
      foreign({ type: "revoke", ...of }),
      foreign({ type: "told", buffer: "bar2", attachment: "nic.1" }),
      foreign({ type: "revoke", buffer: "unheard-of" }),
    );
    const exported = { exporter: "vfio", size: "4096" };
    expect(lines.slice(0, -3)).toEqual([
      lane(1, "events"),
      entry("i", "zap", 1, 1, { device: "nic", views: 2 }),
      lane(2, "buffer bar2"),
      entry("B", "bar2", 2, 2, { ...of, ...exported }),
      lane(3, "buffer bar2"),
      entry("B", "bar2", 3, 3, { buffer: "bar2", inode: 5, ...exported }),
      entry("i", "revoke", 3, 4, { buffer: "bar2" }),
      entry("i", "revoke", 2, 5, of),
      lane(4, "bar2 nic.1"),
      entry("i", "told", 4, 6, { buffer: "bar2", attachment: "nic.1" }),
    ]);
    expect(lines.slice(-3)).toEqual([
      entry("i", "revoke", 1, 7, { buffer: "unheard-of" }),
      { name: "bar2", ph: "E", cat: "dma-buf", pid: 1, tid: 2, ts: 7 },
      { name: "bar2", ph: "E", cat: "dma-buf", pid: 1, tid: 3, ts: 7 },
    ]);
  });

  it("of spans open at the end close from the inside, in the copy alone", () => {
    const trace = new ChromeTrace();
    trace.emit({ type: "attach", ...by, device: "nic", kind: "dynamic" });
    trace.emit(map(1));
    const ends = (): string[] =>
      trace.toJSON().traceEvents.flatMap(({ ph, name }) => (ph === "E" ? [name] : []));
    expect([ends(), ends()]).toEqual([
      ["map 1", "nic.1"],
      ["map 1", "nic.1"],
    ]);
    trace.emit({ type: "unmap", ...by, mapping: 1 });
    trace.emit({ type: "unmap", ...by, mapping: 1 });
    expect(ends()).toEqual(["map 1", "nic.1"]);
    expect(trace.toJSON().traceEvents.filter(({ ph }) => ph === "i")).toHaveLength(1);
  });
});
