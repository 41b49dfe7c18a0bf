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

type State = Span["state"];

/** What an event does to its lane: stretches that it ends, all of them where `all`, then one that it begins if none of it is open. */
interface Turn {
  readonly end?: readonly State[];
  readonly all?: true;
  readonly begin?: State;
}

const turns: Readonly<Record<string, Turn>> = {
  lock: { begin: "held" },
  unlock: { end: ["held"] },
  export: { begin: "alive" },
  release: { end: ["alive", "void", "busy"], all: true },
  attach: { begin: "alive" },
  detach: { end: ["alive"] },
  map: { begin: "mapped" },
  unmap: { end: ["mapped"] },
  "iommufd-map": { begin: "mapped" },
  "iommufd-unmap": { end: ["mapped", "void"] },
  "iommufd-revoke": { end: ["mapped"], all: true, begin: "void" },
  "iommufd-restore": { end: ["void"], all: true, begin: "mapped" },
  "rdma-reg-mr": { begin: "mapped" },
  "rdma-page-fault": { end: ["void"], begin: "mapped" },
  "rdma-mr-zapped": { end: ["mapped"], begin: "void" },
  "rdma-mr-revoked": { end: ["mapped"], begin: "void" },
  "rdma-dereg-mr": { end: ["mapped", "void"], all: true },
  revoke: { begin: "void" },
  restore: { end: ["void"] },
  drain: { begin: "busy" },
  drained: { end: ["busy"] },
};

/** Where a second stretch of the same kind may be open on one lane: mappings of one attachment, or of one buffer. */
const plural = new Set(["map", "iommufd-map"]);

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
  const laneFor = new LaneNames();
  const laneOf = ({ key, label }: Lane): number => {
    const known = numbers.get(key);
    if (known !== undefined) return known;
    numbers.set(key, lanes.length);
    lanes.push({ key, label });
    return lanes.length - 1;
  };
  const close = (lane: number, state: State, row: number): boolean => {
    const at = open.findLastIndex((span) => span.lane === lane && span.state === state);
    const [span] = at < 0 ? [] : open.splice(at, 1);
    if (span !== undefined) spans.push({ ...span, to: row });
    return span !== undefined;
  };
  const rows = events.map((event, row): Row => {
    const lane = laneOf(laneFor.of(event));
    const { end = [], all, begin } = turnOf(event);
    for (const state of end) {
      const closed = close(lane, state, row);
      if (closed && all !== true) break;
      if (all === true) while (close(lane, state, row));
    }
    const isOpen = open.some((span) => span.lane === lane && span.state === begin);
    if (begin !== undefined && (!isOpen || plural.has(event.type))) {
      open.push({ lane, from: row, to: row, state: begin });
    }
    return { event, lane, ...signOf(event), words: eventWords(event) };
  });
  for (const span of open) spans.push({ ...span, to: events.length - 1 });
  // Long ones first, so that what happens within is drawn on top.
  spans.sort((a, b) => b.to - b.from - (a.to - a.from));
  return { lanes, spans, rows };
}

function turnOf(event: EpisodeEvent): Turn {
  if (event.type === "function-reset") {
    return event.phase === "begin" ? { begin: "busy" } : { end: ["busy"] };
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

/** What each event happens to: a lock, an attachment, a mapping, a region, a buffer, a device. */
class LaneNames {
  /** Buffer of each mapping of iommufd: its end knows the address alone. */
  readonly #buffers = new Map<string, string>();

  of(event: EpisodeEvent): Lane {
    const lane = (kind: string, name: string): Lane => ({
      key: `${kind} ${name}`,
      label: `${kind} ${name}`.trim(),
    });
    const lock = text(event, "lock");
    if (lock !== undefined) return lane("lock", lock);
    if (event.type.startsWith("iommufd-")) return lane("iommufd", this.#iommufdBuffer(event));
    const key = text(event, "key");
    if (key !== undefined) return lane("MR", `${key} of ${text(event, "device") ?? "?"}`);
    const attachment = text(event, "attachment");
    if (attachment !== undefined) return lane("attachment", attachment);
    const buffer = text(event, "buffer");
    if (buffer !== undefined) return lane("buffer", buffer);
    const domain = text(event, "domain");
    if (domain !== undefined && event.device === undefined) return lane("IOMMU domain", domain);
    const device = text(event, "requester") ?? text(event, "function") ?? text(event, "device");
    return device === undefined ? { key: "others", label: "others" } : lane("device", device);
  }

  #iommufdBuffer(event: EpisodeEvent): string {
    const at = `${text(event, "ioas") ?? ""} ${text(event, "iova") ?? ""}`;
    const buffer = text(event, "buffer");
    if (buffer !== undefined && event.type === "iommufd-map") this.#buffers.set(at, buffer);
    return buffer ?? this.#buffers.get(at) ?? "mappings";
  }
}
