import type { MapType } from "@peerbar/p2pdma";
import type { Style } from "./style.js";

/** One letter for each answer, for tables. */
export const marks = {
  "bus-addr": "B",
  "thru-host-bridge": "H",
  "not-supported": "-",
  unknown: "?",
} as const satisfies Record<MapType | "unknown", string>;

/** What the letters mean. */
export const legend =
  "B: bus address, switch-local. H: through the host bridge. -: not supported. ?: the input cannot tell.";

/** Text in the colour of an answer. */
export function colored(style: Style, mapType: MapType | "unknown", text: string): string {
  switch (mapType) {
    case "bus-addr":
      return style.good(text);
    case "thru-host-bridge":
      return style.accent(text);
    case "not-supported":
      return style.bad(text);
    case "unknown":
      return style.warn(text);
  }
}
