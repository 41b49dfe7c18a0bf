import type { EpisodeEvent } from "../data.js";

type Words = (of: (key: string) => string) => string;

const words: Readonly<Record<string, Words>> = {
  export: (of) => `${of("exporter")} exports ${of("buffer")}, ${of("size")} bytes`,
  release: (of) => `the last reference to ${of("buffer")} is gone: its exporter releases it`,
  get: (of) => `a reference more, ${of("count")} now`,
  put: (of) => `a reference less, ${of("count")} now`,
  attach: (of) => `${of("device")} attaches as ${of("attachment")} (${of("kind")})`,
  detach: (of) => `${of("attachment")} detaches`,
  "attach-kind": (of) => `the way of ${of("attachment")} to the BAR: ${of("kind")}`,
  pin: (of) => `${of("attachment")} pins`,
  unpin: (of) => `${of("attachment")} unpins`,
  map: (of) =>
    `${of("attachment")} is mapped: ${of("size")} bytes at ${of("space")} ${of("first")}, ${many(of("entries"), "entry", "entries")}`,
  unmap: (of) => `mapping ${of("mapping")} of ${of("attachment")} is undone`,
  open: (of) => `${of("attachment")} agrees on "${of("interconnect")}"`,
  refuse: (of) => `${of("operation")} of ${of("attachment")} is refused: ${of("code")}`,
  invalidate: (of) =>
    `${many(of("attachments"), "attachment is", "attachments are")} told to let go`,
  lock: () => "the reservation is locked",
  unlock: () => "the reservation is unlocked",
  fence: (of) => `fence ${of("fence")} joins the reservation (${of("usage")})`,
  signal: (of) => `fence ${of("fence")} signals`,
  trigger: (of) => `${of("trigger")} at ${of("device")}`,
  revoke: (of) => `${of("buffer")} is revoked: no new mapping from here on`,
  drain: (of) => `the revoke waits for ${many(of("mappings"), "mapping", "mappings")}`,
  drained: () => "the revoke is complete: no mapping and no fence is left",
  restore: (of) => `${of("buffer")} can be mapped again`,
  zap: (of) => `CPU mappings of ${of("device")} are taken down (${of("views")})`,
  tlp: (of) =>
    of("status") === "ok"
      ? `${of("kind")} of ${of("length")} bytes at ${of("address")}: reaches ${of("target")} by way of ${of("route")}`
      : `${of("kind")} of ${of("length")} bytes at ${of("address")}: ${of("status")}`,
  "function-reset": (of) => `reset of ${of("function")}: ${of("phase")}`,
  plug: (of) => `${of("function")} is plugged in`,
  unplug: (of) => `${of("function")} is pulled out`,
  "iommu-attach": (of) => `DMA of ${of("device")} now goes through domain ${of("domain")}`,
  "iommu-map": (of) => `domain ${of("domain")} maps IOVA ${of("iova")}, ${of("length")} bytes`,
  "iommu-unmap": (of) =>
    `domain ${of("domain")} unmaps IOVA ${of("iova")}${of("revoked") === "true" ? " (revoked)" : ""}`,
  "iommu-fault": (of) =>
    `IOMMU fault: ${of("device")} at IOVA ${of("iova")} (${of("access")}): ${of("reason")}`,
  "iommufd-map": (of) =>
    `address space ${of("ioas")}: IOVA ${of("iova")}, ${of("length")} bytes of ${of("buffer")}`,
  "iommufd-unmap": (of) => `address space ${of("ioas")}: IOVA ${of("iova")} is unmapped`,
  "iommufd-revoke": (of) =>
    many(of("areas"), "area loses its translations", "areas lose their translations"),
  "iommufd-restore": (of) => `${many(of("areas"), "area is", "areas are")} filled again`,
  "rdma-reg-mr": (of) =>
    `${of("device")} registers key ${of("key")} (${of("mode")}), ${of("length")} bytes`,
  "rdma-dereg-mr": (of) => `key ${of("key")} is deregistered`,
  "rdma-mr-revoked": (of) => `the translation of key ${of("key")} is dead`,
  "rdma-mr-zapped": (of) => `key ${of("key")} loses its translation until the next page fault`,
  "rdma-page-fault": (of) =>
    `page fault of key ${of("key")}: mapped anew in pages of ${of("pageSize")} bytes`,
  "rdma-completion": (of) => `queue pair ${of("qp")}: ${of("opcode")}, ${of("status")}`,
};

function many(count: string, one: string, more: string): string {
  return `${count} ${count === "1" ? one : more}`;
}

/** An event as a sentence; one of a kind not known here as its fields. */
export function eventWords(event: EpisodeEvent): string {
  const of = (key: string): string => plain(event[key]);
  const known = words[event.type];
  if (known !== undefined) return known(of);
  const fields = Object.entries(event).filter(([key]) => key !== "type");
  return [event.type, ...fields.map(([key, value]) => `${key} ${plain(value)}`)].join(" ");
}

function plain(value: unknown): string {
  if (typeof value === "string") return value;
  return value === undefined ? "its own" : JSON.stringify(value);
}
