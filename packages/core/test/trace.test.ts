import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { diagnosticsSink } from "../src/diagnostics.js";
import {
  type Attachment,
  ChromeTrace,
  combineSinks,
  FenceContext,
  type ScatterTable,
  type TraceEvent,
  type TraceFile,
} from "../src/index.js";
import { settle } from "./fixtures/expect-error.js";
import { buffer, device, EventLog, importer, locked } from "./fixtures/exporter.js";

interface Span {
  readonly name: string;
  readonly tid: number;
  readonly begin: number;
  readonly end: number;
  readonly depth: number;
}

/** The spans of a trace. Throws where one is not closed by its own end, or time runs backwards. */
function spansOf({ traceEvents }: TraceFile): Span[] {
  const open = new Map<number, TraceEvent[]>();
  const spans: Span[] = [];
  let now = 0;
  for (const event of traceEvents) {
    if (event.ph === "M") continue;
    if (event.ts < now) throw new Error(`time runs backwards at ${event.name}`);
    now = event.ts;
    const stack = open.get(event.tid) ?? [];
    open.set(event.tid, stack);
    if (event.ph === "B") stack.push(event);
    if (event.ph !== "E") continue;
    const begin = stack.pop();
    if (begin?.name !== event.name)
      throw new Error(`${event.name} ends ${begin?.name ?? "nothing"}`);
    spans.push({
      name: event.name,
      tid: event.tid,
      begin: begin.ts,
      end: event.ts,
      depth: stack.length,
    });
  }
  for (const stack of open.values()) if (stack.length > 0) throw new Error("a span has no end");
  return spans;
}

describe("a Chrome trace", () => {
  it("loads from its file: spans nest, buffer around attachment around mapping", async () => {
    const trace = new ChromeTrace();
    const { buffer: made } = buffer(undefined, { events: trace, name: "bar2" });
    const attachment = made.attach(device("nic"), importer());
    const fence = new FenceContext(1, "job").next();
    locked(made, (held) => {
      const first = attachment.map("to-device", held);
      const second = attachment.map("to-device", held);
      made.reservation.reserveFences(held, 1);
      made.reservation.addFence(held, fence, "write");
      attachment.unmap(first, "to-device", held);
      attachment.unmap(second, "to-device", held);
    });
    fence.signal();
    attachment.detach();
    made.close();
    await settle();
    const folder = await mkdtemp(join(tmpdir(), "trace-"));
    try {
      const path = join(folder, "trace.json");
      await writeFile(path, JSON.stringify(trace));
      const file = JSON.parse(await readFile(path, "utf8")) as TraceFile;
      const spans = spansOf(file);
      const byName = (name: string): Span => {
        const found = spans.filter((span) => span.name === name);
        if (found.length !== 1 || found[0] === undefined)
          throw new Error(`${String(found.length)} spans ${name}`);
        return found[0];
      };
      const inside = (inner: Span, outer: Span): boolean =>
        outer.begin < inner.begin && inner.end < outer.end;
      const [whole, attached] = [byName("bar2"), byName("nic.1")];
      const mappings = [byName("map 1"), byName("map 2")];
      expect(inside(attached, whole)).toBe(true);
      expect(mappings.every((mapping) => inside(mapping, attached))).toBe(true);
      expect(mappings.every((mapping) => inside(mapping, byName("held")))).toBe(true);
      // Mappings overlap without nesting, so they have lanes of their own.
      expect(mappings.map(({ depth }) => depth)).toEqual([1, 0]);
      const lanes = file.traceEvents
        .filter((event) => event.name === "thread_name")
        .map((event) => event.args?.name);
      expect(lanes).toEqual(["buffer bar2", "bar2 nic.1", "lock bar2", "bar2 nic.1 (2)"]);
      const job = file.traceEvents
        .filter((event) => event.id === fence.name)
        .map((event) => event.ph);
      expect(job).toEqual(["b", "e"]);
      expect(file.traceEvents.find((event) => event.name === "bar2")?.args?.size).toBe("65536");
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("nests whatever happens in whatever order, and closes what is open", () => {
    const action = fc.record({
      what: fc.constantFrom("attach", "detach", "map", "unmap"),
      which: fc.nat(7),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
        const trace = new ChromeTrace();
        const { buffer: made } = buffer(undefined, { events: trace });
        const attachments: Attachment[] = [];
        const tables: { of: Attachment; table: ScatterTable }[] = [];
        for (const { what, which } of actions) {
          const attachment = attachments[which % Math.max(1, attachments.length)];
          if (what === "attach") attachments.push(made.attach(device("d"), importer()));
          else if (what === "detach" && attachment?.mappings === 0) {
            attachment.detach();
            attachments.splice(attachments.indexOf(attachment), 1);
          } else if (what === "map" && attachment !== undefined) {
            const table = locked(made, (held) => attachment.map("to-device", held));
            tables.push({ of: attachment, table });
          } else if (what === "unmap") {
            const [mapping] = tables.splice(which % Math.max(1, tables.length), 1);
            if (mapping !== undefined)
              locked(made, (held) => mapping.of.unmap(mapping.table, "to-device", held));
          }
        }
        const spans = spansOf(trace.toJSON());
        const begun = trace.toJSON().traceEvents.filter((event) => event.ph === "B").length;
        expect(spans.length).toBe(begun);
      }),
      { numRuns: 300 },
    );
  });

  it("takes the time it is given, and events of other packages as instants of their buffer", () => {
    let now = 100;
    const trace = new ChromeTrace({ now: () => now, process: "rig" });
    const { buffer: made } = buffer(undefined, { events: trace });
    now = 250;
    const foreign = { type: "revoke", buffer: made.label } as unknown as Parameters<
      typeof trace.emit
    >[0];
    trace.emit(foreign);
    trace.emit({ type: "release", buffer: "unknown", inode: 99 });
    const { traceEvents } = trace.toJSON();
    const exported = traceEvents.find((event) => event.ph === "B");
    const revoke = traceEvents.find((event) => event.name === "revoke");
    expect([exported?.ts, revoke?.ts, revoke?.ph, revoke?.tid === exported?.tid]).toEqual([
      100,
      250,
      "i",
      true,
    ]);
    expect(traceEvents.find((event) => event.name === "release")?.ph).toBe("i");
    expect(traceEvents[0]?.args).toEqual({ name: "rig" });
  });
});

describe("diagnostics_channel", () => {
  it("gets each event on a channel of its type, whoever has subscribed", () => {
    const seen: unknown[] = [];
    const onMap = (message: unknown): void => {
      seen.push(message);
    };
    subscribe("peerbar.dma-buf.attach", onMap);
    try {
      const log = new EventLog();
      const { buffer: made } = buffer(undefined, { events: combineSinks(log, diagnosticsSink()) });
      made.attach(device("nic"));
      expect(log.types).toEqual(["export", "attach"]);
      expect(seen).toEqual([log.events[1]]);
      unsubscribe("peerbar.dma-buf.attach", onMap);
      made.attach(device("nic"));
      expect(seen.length).toBe(1);
    } finally {
      unsubscribe("peerbar.dma-buf.attach", onMap);
    }
  });
});
