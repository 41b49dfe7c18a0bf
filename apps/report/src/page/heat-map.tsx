import type { PairMatrix } from "@peerbar/p2pdma";
import type { JSX, RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { paintMatrix, readPalette } from "./matrix-paint.js";

/** A place in the matrix: provider's row, client's column. */
export interface Cell {
  readonly row: number;
  readonly column: number;
}

/** Names beside the rows and above the columns. */
export interface Labels {
  readonly texts: readonly string[];
  /** CSS pixels that the longest needs. */
  readonly width: number;
}

export interface HeatMapProps {
  readonly members: readonly string[];
  readonly pairs: PairMatrix;
  readonly was: PairMatrix | undefined;
  readonly found: ReadonlySet<string>;
  /** Changes whenever colours do. */
  readonly theme: string;
  readonly names: Labels;
  /** Side of one cell, in CSS pixels. */
  readonly cell: number;
  /** The keyboard's cell. */
  readonly at: Cell;
  readonly chosen: Cell | undefined;
  readonly hover: Cell | undefined;
  readonly onHover: (cell: Cell | undefined) => void;
  readonly onMove: (cell: Cell) => void;
  readonly onChoose: (provider: string, client: string) => void;
  readonly tell: (cell: Cell) => string;
}

/** Browsers paint no larger canvas, in CSS pixels. */
export const LARGEST = 4000;
/** Cells smaller than that have no names beside them. */
const LABELLED = 11;

/** All pairs as one picture, with the keys of a grid: one cell is active. */
export function HeatMap(props: HeatMapProps): JSX.Element {
  const { cell, members, at } = props;
  const n = members.length;
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (box.current !== null) reveal(box.current, at, cell);
  }, [at.row, at.column, cell]);
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(props, at);
      return;
    }
    const next = step(at, event.key, n);
    if (next === undefined) return;
    event.preventDefault();
    props.onMove(next);
  };
  return (
    <div
      class="heat"
      ref={box}
      role="grid"
      tabIndex={0}
      aria-label="verdict of every ordered pair: rows are providers, columns clients; arrow keys move, Enter selects"
      aria-rowcount={n}
      aria-colcount={n}
      aria-activedescendant={n > 0 ? "active-cell" : undefined}
      onKeyDown={onKeyDown}
    >
      <div role="row" aria-rowindex={at.row + 1} class="hidden">
        <span
          role="gridcell"
          id="active-cell"
          aria-colindex={at.column + 1}
          aria-selected={same(at, props.chosen)}
        >
          {n > 0 ? props.tell(at) : "no pair"}
        </span>
      </div>
      <Plot {...props} />
    </div>
  );
}

function choose({ members, onChoose }: HeatMapProps, { row, column }: Cell): void {
  const [provider, client] = [members[row], members[column]];
  if (provider !== undefined && client !== undefined) onChoose(provider, client);
}

/** The picture says to the eye what the grid's cell says to a screen reader. */
function Plot(props: HeatMapProps): JSX.Element {
  const { cell, names, members } = props;
  const labelled = cell >= LABELLED;
  const heads = `${String(labelled ? names.width : 16)}px`;
  const look = props.hover ?? props.at;
  return (
    <div
      class="plot"
      aria-hidden="true"
      style={{ gridTemplateColumns: `${heads} ${String(members.length * cell)}px` }}
    >
      <div class="corner">{labelled ? "provider ↓ client →" : ""}</div>
      <div class="columns" style={{ height: heads }}>
        {labelled ? (
          names.texts.map((text, i) => (
            <span
              key={text}
              class={headClass(props, i, look.column)}
              style={{ left: `${String(i * cell)}px`, width: `${String(cell)}px` }}
            >
              <span>{text}</span>
            </span>
          ))
        ) : (
          <span class="axis">client →</span>
        )}
      </div>
      <div class="rows">
        {labelled ? (
          names.texts.map((text, i) => (
            <span
              key={text}
              class={headClass(props, i, look.row)}
              style={{ height: `${String(cell)}px`, lineHeight: `${String(cell)}px` }}
            >
              {text}
            </span>
          ))
        ) : (
          <span class="axis">provider ↓</span>
        )}
      </div>
      <Cells {...props} />
    </div>
  );
}

function headClass(props: HeatMapProps, index: number, active: number): string {
  const name = props.members[index] ?? "";
  return `${index === active ? "active" : ""}${props.found.has(name) ? " found" : ""}`.trim();
}

/** The painted cells under the mouse, with marks on two of them. Keys are handled by the grid. */
function Cells(props: HeatMapProps): JSX.Element {
  const { cell, members, at, chosen } = props;
  const n = members.length;
  const side = `${String(n * cell)}px`;
  const canvas = useRef<HTMLCanvasElement>(null);
  usePainted(canvas, props);
  const cellUnder = (event: MouseEvent): Cell => {
    const { left, top } = (event.currentTarget as Element).getBoundingClientRect();
    const index = (offset: number): number =>
      Math.max(0, Math.min(n - 1, Math.floor(offset / cell)));
    return { row: index(event.clientY - top), column: index(event.clientX - left) };
  };
  return (
    <div
      class="cells"
      style={{ width: side, height: side }}
      onClick={(event: MouseEvent) => {
        choose(props, cellUnder(event));
      }}
      onMouseMove={(event: MouseEvent) => {
        const next = cellUnder(event);
        if (!same(next, props.hover)) props.onHover(next);
      }}
      onMouseLeave={() => {
        props.onHover(undefined);
      }}
    >
      <canvas ref={canvas} style={{ width: side, height: side }} />
      {chosen !== undefined && <Mark kind="chosen" cell={cell} at={chosen} />}
      {n > 0 && <Mark kind="at" cell={cell} at={at} />}
    </div>
  );
}

/** Paints whenever what is shown changes; the theme changes what the style sheet says. */
function usePainted(canvas: RefObject<HTMLCanvasElement | null>, props: HeatMapProps): void {
  const { cell, members, pairs, was, theme } = props;
  const side = members.length * cell;
  useLayoutEffect(() => {
    const element = canvas.current;
    if (element === null || side === 0) return;
    const scale =
      side * globalThis.devicePixelRatio > LARGEST * 2 ? 1 : globalThis.devicePixelRatio;
    element.width = Math.round(side * scale);
    element.height = Math.round(side * scale);
    const context = element.getContext("2d");
    if (context === null) return;
    context.scale(scale, scale);
    paintMatrix(context, pairs, was, cell, readPalette(element));
  }, [pairs, was, cell, side, theme]);
}

function Mark({
  kind,
  at,
  cell,
}: {
  readonly kind: string;
  readonly at: Cell;
  readonly cell: number;
}): JSX.Element {
  const side = Math.max(cell, 5);
  const shift = (side - cell) / 2;
  return (
    <span
      class={`mark ${kind}`}
      style={{
        left: `${String(at.column * cell - shift)}px`,
        top: `${String(at.row * cell - shift)}px`,
        width: `${String(side)}px`,
        height: `${String(side)}px`,
      }}
    />
  );
}

function same(a: Cell | undefined, b: Cell | undefined): boolean {
  return a?.row === b?.row && a?.column === b?.column;
}

function step({ row, column }: Cell, key: string, n: number): Cell | undefined {
  const inside = (value: number): number => Math.max(0, Math.min(n - 1, value));
  switch (key) {
    case "ArrowUp":
      return { row: inside(row - 1), column };
    case "ArrowDown":
      return { row: inside(row + 1), column };
    case "ArrowLeft":
      return { row, column: inside(column - 1) };
    case "ArrowRight":
      return { row, column: inside(column + 1) };
    case "Home":
      return { row, column: 0 };
    case "End":
      return { row, column: n - 1 };
    case "PageUp":
      return { row: inside(row - 10), column };
    case "PageDown":
      return { row: inside(row + 10), column };
    default:
      return undefined;
  }
}

/** Scrolls the matrix alone, never the page, until the cell shows. */
function reveal(box: HTMLElement, { row, column }: Cell, cell: number): void {
  const plot = box.querySelector<HTMLElement>(".cells");
  if (plot === null) return;
  const [labels, heads] = [plot.offsetLeft, plot.offsetTop];
  const [x, y] = [labels + column * cell, heads + row * cell];
  if (x - labels < box.scrollLeft) box.scrollLeft = x - labels;
  else if (x + cell > box.scrollLeft + box.clientWidth)
    box.scrollLeft = x + cell - box.clientWidth + 8;
  if (y - heads < box.scrollTop) box.scrollTop = y - heads;
  else if (y + cell > box.scrollTop + box.clientHeight)
    box.scrollTop = y + cell - box.clientHeight + 8;
}
