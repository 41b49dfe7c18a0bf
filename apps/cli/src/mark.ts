import type { MapType } from "@peerbar/p2pdma";
import { marks, markWords } from "@peerbar/words";
import type { Style } from "./style.js";

/** What the letters mean. */
export const legend = (Object.keys(marks) as (keyof typeof marks)[])
  .map((mapType) => `${marks[mapType]}: ${markWords[mapType]}.`)
  .join(" ");

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
