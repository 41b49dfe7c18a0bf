import { type Account, type WayStep, wayOf } from "@peerbar/words";
import type { Glyphs } from "../glyphs.js";
import type { Style } from "../style.js";
import { wrap } from "../wrap.js";

/** The way from the provider up to where both meet, and down to the client, one device a line, with its ACS in words. */
export function drawPath(account: Account, style: Style, glyphs: Glyphs, width: number): string[] {
  const lines = wayOf(account).map((step) => ({ ...step, side: sideText(step, glyphs) }));
  const widths = (["side", "address", "role"] as const).map((key) =>
    Math.max(...lines.map((line) => line[key].length)),
  );
  const indent = widths.reduce((sum, n) => sum + n + 2, 0);
  return lines.flatMap((line) => {
    const [a = 0, b = 0, c = 0] = widths;
    const left = `${line.side.padEnd(a)}  ${line.address.padEnd(b)}  ${line.role.padEnd(c)}  `;
    const [first = "", ...rest] = wrap(line.words, Math.max(20, width - indent));
    const paint = style[line.tone];
    return [
      first === "" ? left.trimEnd() : `${left}${paint(first)}`,
      ...rest.map((text) => `${" ".repeat(indent)}${paint(text)}`),
    ];
  });
}

function sideText({ place }: WayStep, glyphs: Glyphs): string {
  switch (place) {
    case "up":
    case "down":
      return `   ${glyphs[place]}`;
    case "meet":
    case "host":
      return `   ${glyphs.meet}`;
    case "provider":
    case "client":
    case "both":
      return place;
  }
}
