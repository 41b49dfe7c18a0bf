import type { DmaBufEvent, EventSink } from "./event.js";

/** One entry of Chrome's trace format: what Perfetto and chrome://tracing read. */
export interface TraceEvent {
  readonly name: string;
  /** "B"/"E" begin and end a span of a lane, "b"/"e" one that overlaps others, "i" is an instant, "M" names a lane. */
  readonly ph: "B" | "E" | "b" | "e" | "i" | "M";
  readonly cat: string;
  /** Group of lanes, as the viewer shows them. */
  readonly pid: number;
  /** Lane. */
  readonly tid: number;
  /** Microseconds. */
  readonly ts: number;
  readonly id?: string;
  readonly s?: "t";
  readonly args?: Readonly<Record<string, unknown>>;
}

/** The file: `JSON.stringify` of it loads in https://ui.perfetto.dev. */
export interface TraceFile {
  readonly displayTimeUnit: "ns";
  readonly traceEvents: readonly TraceEvent[];
}

/** What a {@link ChromeTrace} may be given. */
export interface ChromeTraceOptions {
  /** Time of an event, in microseconds; `() => scheduler.nowUs` for virtual time. Absent: events are numbered, one microsecond apart. */
  readonly now?: (() => number) | undefined;
  /** Name of the one process shown. */
  readonly process?: string | undefined;
}

interface Lane {
  readonly tid: number;
  /** Names of the open spans, outermost first. */
  readonly open: string[];
}

const PID = 1;

/**
 * A sink that keeps what happened as a trace: a lane for each buffer, attachment and lock, spans from export to release, attach to
 * detach, map to unmap, lock to unlock, fence to signal; all else as instants. Spans of a lane nest.
 */
export class ChromeTrace implements EventSink {
  readonly #now: () => number;
  readonly #process: string;
  readonly #events: TraceEvent[] = [];
  readonly #lanes = new Map<string, Lane>();
  /** Lane of each mapping that is open, by attachment and number. */
  readonly #mappings = new Map<string, Lane>();
  /** Lane key of the buffer that had this label last: events of other packages know labels alone. */
  readonly #labels = new Map<string, string>();
  #count = 0;

  /** @param options - `now`, in microseconds, gives the time of an event; without it events are counted */
  constructor(options: ChromeTraceOptions = {}) {
    this.#now = options.now ?? (() => this.#count);
    this.#process = options.process ?? "peerbar";
  }

  /** Adds one event. */
  emit(event: DmaBufEvent): void {
    this.#count += 1;
    // eslint-disable-next-line @typescript-eslint/switch-exhaustiveness-check -- other packages add types: all else is an instant
    switch (event.type) {
      case "export":
        this.#labels.set(event.buffer, bufferKey(event));
        this.#begin(this.#lane(bufferKey(event), `buffer ${event.buffer}`), event.buffer, event);
        break;
      case "release":
        this.#end(this.#lane(bufferKey(event), `buffer ${event.buffer}`), event);
        break;
      case "attach":
        this.#begin(this.#attachmentLane(event, 0), event.attachment, event);
        break;
      case "detach":
        this.#end(this.#attachmentLane(event, 0), event);
        break;
      case "map":
        this.#beginMapping(event);
        break;
      case "unmap":
        this.#endMapping(event);
        break;
      case "lock":
        this.#begin(this.#lane(`lock/${event.lock}`, `lock ${event.lock}`), "held", event);
        break;
      case "unlock":
        this.#end(this.#lane(`lock/${event.lock}`, `lock ${event.lock}`), event);
        break;
      case "fence":
        this.#push("b", event.fence, this.#lane(`lock/${event.lock}`, event.lock), event);
        break;
      case "signal":
        this.#push("e", event.fence, this.#lane(`lock/${event.lock}`, event.lock), event);
        break;
      default:
        this.#push("i", event.type, this.#laneOf(event), event);
    }
  }

  /** The trace so far; spans still open end now, in the copy only. */
  toJSON(): TraceFile {
    const ts = this.#now();
    const ends: TraceEvent[] = [];
    for (const { tid, open } of this.#lanes.values()) {
      for (const name of [...open].reverse()) {
        ends.push({ name, ph: "E", cat: "dma-buf", pid: PID, tid, ts });
      }
    }
    const name: TraceEvent = {
      name: "process_name",
      ph: "M",
      cat: "__metadata",
      pid: PID,
      tid: 0,
      ts: 0,
      args: { name: this.#process },
    };
    return { displayTimeUnit: "ns", traceEvents: [name, ...this.#events, ...ends] };
  }

  #beginMapping(event: Extract<DmaBufEvent, { type: "map" }>): void {
    // Mappings may end in any order, so a second one at the same time gets a lane of its own.
    let index = 0;
    let lane = this.#attachmentLane(event, index);
    while (lane.open.at(-1)?.startsWith("map ") === true) {
      index += 1;
      lane = this.#attachmentLane(event, index);
    }
    this.#mappings.set(mappingKey(event), lane);
    this.#begin(lane, `map ${String(event.mapping)}`, event);
  }

  #endMapping(event: Extract<DmaBufEvent, { type: "unmap" }>): void {
    const key = mappingKey(event);
    const lane = this.#mappings.get(key);
    this.#mappings.delete(key);
    if (lane === undefined) this.#push("i", "unmap", this.#attachmentLane(event, 0), event);
    else this.#end(lane, event);
  }

  #begin(lane: Lane, name: string, event: DmaBufEvent): void {
    lane.open.push(name);
    this.#push("B", name, lane, event);
  }

  /** An end whose begin was before the trace began is an instant. */
  #end(lane: Lane, event: DmaBufEvent): void {
    const name = lane.open.pop();
    if (name === undefined) this.#push("i", event.type, lane, event);
    else this.#push("E", name, lane, event);
  }

  #push(ph: "B" | "E" | "b" | "e" | "i", name: string, lane: Lane, event: DmaBufEvent): void {
    this.#events.push({
      name,
      ph,
      cat: "dma-buf",
      pid: PID,
      tid: lane.tid,
      ts: this.#now(),
      ...(ph === "b" || ph === "e" ? { id: name } : {}),
      ...(ph === "i" ? { s: "t" as const } : {}),
      args: argumentsOf(event),
    });
  }

  #attachmentLane(event: AttachmentEvent, index: number): Lane {
    const name = index === 0 ? event.attachment : `${event.attachment} (${String(index + 1)})`;
    return this.#lane(`${bufferKey(event)}/${name}`, `${event.buffer} ${name}`);
  }

  /** Where an instant belongs: its attachment, its buffer, or the lane of all others. */
  #laneOf(event: DmaBufEvent): Lane {
    const { buffer, inode, attachment } = event as Partial<AttachmentEvent>;
    const key =
      inode !== undefined
        ? bufferKey({ inode })
        : buffer === undefined
          ? undefined
          : this.#labels.get(buffer);
    if (key === undefined) return this.#lane("events", "events");
    if (attachment !== undefined) {
      return this.#lane(`${key}/${attachment}`, `${buffer ?? ""} ${attachment}`);
    }
    return this.#lane(key, `buffer ${buffer ?? ""}`);
  }

  #lane(key: string, name: string): Lane {
    const known = this.#lanes.get(key);
    if (known !== undefined) return known;
    const lane: Lane = { tid: this.#lanes.size + 1, open: [] };
    this.#lanes.set(key, lane);
    this.#events.push({
      name: "thread_name",
      ph: "M",
      cat: "__metadata",
      pid: PID,
      tid: lane.tid,
      ts: 0,
      args: { name },
    });
    return lane;
  }
}

interface AttachmentEvent {
  readonly buffer: string;
  readonly inode: number;
  readonly attachment: string;
}

function bufferKey({ inode }: { readonly inode: number }): string {
  return `buffer/${String(inode)}`;
}

function mappingKey(event: AttachmentEvent & { readonly mapping: number }): string {
  return `${bufferKey(event)}/${event.attachment}/${String(event.mapping)}`;
}

/** Fields as JSON can carry them: bigints as decimal text. */
function argumentsOf(event: DmaBufEvent): Readonly<Record<string, unknown>> {
  const fields = Object.entries(event).filter(([key]) => key !== "type");
  return Object.fromEntries(
    fields.map(([key, value]: [string, unknown]) => [
      key,
      typeof value === "bigint" ? String(value) : value,
    ]),
  );
}
