import type { EpisodeEvent } from "../data.js";
import { eventWords } from "./event-words.js";

/** One column of the timeline: something that is held, lives, or acts. */
export interface Lane {
  readonly key: string;
  readonly label: string;
}

/** A stretch of one lane, from the row of its first event to the row of its last. */
export interface Span {
  readonly lane: number;
  readonly from: number;
  readonly to: number;
  /** `held`: a lock. `alive`: exported or attached. `mapped`: usable for DMA. `void`: revoked. `busy`: in reset or draining. */
  readonly state: "held" | "alive" | "mapped" | "void" | "busy";
}

type Tone = "good" | "bad" | "warn" | "plain";

/** One row: an event on its lane, in words. */
export interface Row {
  readonly event: EpisodeEvent;
  readonly lane: number;
  readonly sign: string;
  readonly tone: Tone;
  readonly words: string;
}

export interface Lanes {
  readonly lanes: readonly Lane[];
  readonly spans: readonly Span[];
  readonly rows: readonly Row[];
}

/** What an event begins or ends on its lane; `end` closes the last of that name which is open. */
interface Turn {
  readonly begin?: Span["state"];
  readonly end?: Span["state"];
}

const turns: Readonly<Record<string, Turn>> = {
  lock: { begin: "held" },
  unlock: { end: "held" },
  export: { begin: "alive" },
  release: { end: "alive" },
  attach: { begin: "alive" },
  detach: { end: "alive" },
  map: { begin: "mapped" },
  unmap: { end: "mapped" },
  "iommufd-map": { begin: "mapped" },
  "iommufd-unmap": { end: "mapped" },
  "rdma-reg-mr": { begin: "mapped" },
  "rdma-dereg-mr": { end: "mapped" },
  revoke: { begin: "void" },
  restore: { end: "void" },
  drain: { begin: "busy" },
  drained: { end: "busy" },
};

const signs: Readonly<Record<string, string>> = {
  lock: "▾",
  unlock: "▴",
  tlp: "→",
  revoke: "◆",
  invalidate: "◆",
  trigger: "!",
  refuse: "✕",
  "iommu-fault": "✕",
};

/** Lanes, stretches and rows of a run. What never ends goes on to the last row. */
export function lanesOf(events: readonly EpisodeEvent[]): Lanes {
  const lanes: Lane[] = [];
  const numbers = new Map<string, number>();
  const open: Span[] = [];
  const spans: Span[] = [];
  const laneOf = ({ key, label }: Lane): number => {
    const known = numbers.get(key);
    if (known !== undefined) return known;
    numbers.set(key, lanes.length);
    lanes.push({ key, label });
    return lanes.length - 1;
  };
  const rows = events.map((event, row): Row => {
    const lane = laneOf(laneFor(event));
    const { begin, end } = turnOf(event);
    if (end !== undefined) {
      const at = open.findLastIndex((span) => span.lane === lane && span.state === end);
      const [span] = at < 0 ? [] : open.splice(at, 1);
      if (span !== undefined) spans.push({ ...span, to: row });
    }
    if (begin !== undefined) open.push({ lane, from: row, to: row, state: begin });
    return { event, lane, ...signOf(event), words: eventWords(event) };
  });
  for (const span of open) spans.push({ ...span, to: events.length - 1 });
  // Long ones first, so that what happens within is drawn on top.
  spans.sort((a, b) => b.to - b.from - (a.to - a.from));
  return { lanes, spans, rows };
}

function turnOf(event: EpisodeEvent): Turn {
  if (event.type === "function-reset") {
    return event.phase === "begin" ? { begin: "busy" } : { end: "busy" };
  }
  return turns[event.type] ?? {};
}

function signOf(event: EpisodeEvent): { readonly sign: string; readonly tone: Tone } {
  const failed = event.type === "tlp" && event.status !== "ok";
  if (failed || event.type === "refuse" || event.type === "iommu-fault")
    return { sign: "✕", tone: "bad" };
  const sign = signs[event.type] ?? "•";
  if (event.type === "rdma-completion")
    return { sign, tone: event.status === "success" ? "good" : "bad" };
  if (event.type === "tlp") return { sign, tone: "good" };
  const warns = [
    "revoke",
    "invalidate",
    "trigger",
    "drain",
    "rdma-mr-revoked",
    "rdma-mr-zapped",
    "iommufd-revoke",
  ];
  return { sign, tone: warns.includes(event.type) ? "warn" : "plain" };
}

function text(event: EpisodeEvent, key: string): string | undefined {
  const value = event[key];
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined;
}

/** What an event happens to: a lock, an attachment, a mapping, a region, a buffer, a device. */
function laneFor(event: EpisodeEvent): Lane {
  const of = (kind: string, name: string): Lane => ({
    key: `${kind} ${name}`,
    label: `${kind} ${name}`,
  });
  const lock = text(event, "lock");
  if (lock !== undefined) return of("lock", lock);
  if (event.type.startsWith("iommufd-")) return of("iommufd", "mappings");
  const key = text(event, "key");
  if (key !== undefined) return of("MR", key);
  const attachment = text(event, "attachment");
  if (attachment !== undefined) return of("attachment", attachment);
  const buffer = text(event, "buffer");
  if (buffer !== undefined) return of("buffer", buffer);
  const domain = text(event, "domain");
  if (domain !== undefined && event.device === undefined) return of("IOMMU domain", domain);
  const device = text(event, "requester") ?? text(event, "function") ?? text(event, "device");
  return device === undefined ? of("", "others") : of("device", device);
}
