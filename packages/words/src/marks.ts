import type { MapType } from "@peerbar/p2pdma";

/** One letter for each answer, for tables. */
export const marks = {
  "bus-addr": "B",
  "thru-host-bridge": "H",
  "not-supported": "-",
  unknown: "?",
} as const satisfies Record<MapType | "unknown", string>;

/** What each letter means. */
export const markWords = {
  "bus-addr": "bus address, switch-local",
  "thru-host-bridge": "through the host bridge",
  "not-supported": "not supported",
  unknown: "the input cannot tell",
} as const satisfies Record<MapType | "unknown", string>;

/** The verdict on a pair, as the first words of an answer. */
export const verdicts = {
  "bus-addr": "YES, switch-local",
  "thru-host-bridge": "YES, through the host bridge",
  "not-supported": "NO",
  unknown: "CANNOT TELL",
} as const satisfies Record<MapType | "unknown", string>;
