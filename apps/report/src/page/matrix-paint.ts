import { mapTypeCodes, type PairMatrix } from "@peerbar/p2pdma";
import { marks } from "@peerbar/words";

/** Colours of the page as the style sheet has them now. */
export interface Palette {
  readonly bus: string;
  readonly host: string;
  readonly no: string;
  readonly unknown: string;
  readonly ink: string;
  readonly onBus: string;
  readonly onHost: string;
  readonly onNo: string;
  readonly onUnknown: string;
  readonly grid: string;
  readonly mark: string;
}

/** Reads the palette; a canvas knows no style sheets. `element` is in the page. */
export function readPalette(element: HTMLElement): Palette {
  // A property's text may be light-dark(): only a colour in use is one colour.
  const before = element.style.color;
  const style = getComputedStyle(element);
  const of = (name: string): string => {
    element.style.color = `var(--${name})`;
    return style.color;
  };
  const palette = read(of);
  element.style.color = before;
  return palette;
}

function read(of: (name: string) => string): Palette {
  return {
    bus: of("bus"),
    host: of("host"),
    no: of("no"),
    unknown: of("unknown"),
    ink: of("ink"),
    onBus: of("on-bus"),
    onHost: of("on-host"),
    onNo: of("on-no"),
    onUnknown: of("on-unknown"),
    grid: of("panel"),
    mark: of("ink"),
  };
}

const letters: readonly string[] = (() => {
  const list: string[] = [];
  for (const [name, code] of Object.entries(mapTypeCodes))
    list[code] = marks[name as keyof typeof marks];
  return list;
})();

/** From this cell size on each cell has its letter; below, refused and unknown areas are hatched, so that colour is never alone. */
const LETTERS_FROM = 13;

interface Paint {
  readonly fill: string;
  readonly text: string;
}

function paints(palette: Palette): readonly Paint[] {
  const list: Paint[] = [];
  list[mapTypeCodes.unknown] = { fill: palette.unknown, text: palette.onUnknown };
  list[mapTypeCodes["not-supported"]] = { fill: palette.no, text: palette.onNo };
  list[mapTypeCodes["bus-addr"]] = { fill: palette.bus, text: palette.onBus };
  list[mapTypeCodes["thru-host-bridge"]] = { fill: palette.host, text: palette.onHost };
  return list;
}

/**
 * Paints all cells of a matrix: one filled run for each stretch of equal answers in a row, so that a quarter of a million pairs take
 * milliseconds.
 *
 * @param cell - CSS pixels of one cell's side
 * @param was - the matrix before edits: cells that differ get a corner; undefined without edits
 */
export function paintMatrix(
  context: CanvasRenderingContext2D,
  pairs: PairMatrix,
  was: PairMatrix | undefined,
  cell: number,
  palette: Palette,
): void {
  const n = pairs.size;
  const gap = cell >= 8 ? 1 : 0;
  const colors = paints(palette);
  context.fillStyle = palette.grid;
  context.fillRect(0, 0, n * cell, n * cell);
  for (let row = 0; row < n; row += 1) {
    for (let from = 0; from < n; ) {
      const code = pairs.codeAt(row, from);
      let to = from + 1;
      if (gap === 0) while (to < n && pairs.codeAt(row, to) === code) to += 1;
      context.fillStyle = colors[code]?.fill ?? "";
      context.fillRect(from * cell, row * cell, (to - from) * cell - gap, cell - gap);
      from = to;
    }
  }
  if (cell < LETTERS_FROM) hatch(context, pairs, cell, palette);
  else writeLetters(context, pairs, cell, colors);
  if (was !== undefined) markChanges(context, pairs, was, cell, palette);
}

function writeLetters(
  context: CanvasRenderingContext2D,
  pairs: PairMatrix,
  cell: number,
  colors: readonly Paint[],
): void {
  context.font = `600 ${String(Math.min(12, Math.round(cell * 0.62)))}px ui-monospace, Menlo, Consolas, monospace`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const middle = (cell - 1) / 2;
  for (let row = 0; row < pairs.size; row += 1) {
    for (let column = 0; column < pairs.size; column += 1) {
      const code = pairs.codeAt(row, column);
      context.fillStyle = colors[code]?.text ?? "";
      context.fillText(letters[code] ?? "", column * cell + middle, row * cell + middle + 1);
    }
  }
}

/** Diagonals over refused pairs, dots over unknown ones. */
function hatch(
  context: CanvasRenderingContext2D,
  pairs: PairMatrix,
  cell: number,
  palette: Palette,
): void {
  const refused = mapTypeCodes["not-supported"];
  const pitch = Math.max(1, Math.round(6 / cell));
  for (let row = 0; row < pairs.size; row += 1) {
    for (let column = 0; column < pairs.size; column += 1) {
      const code = pairs.codeAt(row, column);
      const isRefused = code === refused;
      if (!isRefused && code !== mapTypeCodes.unknown) continue;
      const on = isRefused
        ? (row + column) % (2 * pitch) === 0
        : row % (2 * pitch) === 0 && column % (2 * pitch) === 0;
      if (!on) continue;
      context.fillStyle = isRefused ? palette.onNo : palette.onUnknown;
      const side = Math.max(1, Math.min(2, cell / 2));
      const inset = (cell - side) / 2;
      context.fillRect(column * cell + inset, row * cell + inset, side, side);
    }
  }
}

function markChanges(
  context: CanvasRenderingContext2D,
  pairs: PairMatrix,
  was: PairMatrix,
  cell: number,
  palette: Palette,
): void {
  context.fillStyle = palette.mark;
  const side = Math.max(1.5, Math.min(6, cell / 3));
  for (let row = 0; row < pairs.size; row += 1) {
    for (let column = 0; column < pairs.size; column += 1) {
      if (pairs.codeAt(row, column) === was.codeAt(row, column)) continue;
      const [x, y] = [column * cell, row * cell];
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(x + side, y);
      context.lineTo(x, y + side);
      context.fill();
    }
  }
}
