import type { Io } from "./io.js";

/** Strokes of trees and paths. */
export interface Glyphs {
  readonly branch: string;
  readonly last: string;
  readonly pipe: string;
  readonly blank: string;
  readonly ellipsis: string;
  readonly up: string;
  readonly down: string;
  readonly meet: string;
  readonly arrow: string;
}

const box: Glyphs = {
  branch: "├─ ",
  last: "└─ ",
  pipe: "│  ",
  blank: "   ",
  ellipsis: "…",
  up: "↑",
  down: "↓",
  meet: "●",
  arrow: "→",
};

const plain: Glyphs = {
  branch: "|- ",
  last: "`- ",
  pipe: "|  ",
  blank: "   ",
  ellipsis: "..",
  up: "^",
  down: "v",
  meet: "*",
  arrow: "->",
};

/** Box drawing where the locale has UTF-8, ASCII elsewhere and with `--ascii`. */
export function glyphsFor(io: Io, ascii: boolean | undefined): Glyphs {
  const { LC_ALL, LC_CTYPE, LANG } = io.env;
  const locale = [LC_ALL, LC_CTYPE, LANG].find((text) => text !== undefined && text !== "") ?? "";
  return ascii !== true && /utf-?8/i.test(locale) ? box : plain;
}

/** Cuts a text to a width, with a mark where something is missing. */
export function cut(text: string, width: number, glyphs: Glyphs): string {
  if (text.length <= width) return text;
  return width <= glyphs.ellipsis.length
    ? text.slice(0, Math.max(0, width))
    : `${text.slice(0, width - glyphs.ellipsis.length)}${glyphs.ellipsis}`;
}
