import type { PairMatrix, PciTopology } from "@peerbar/p2pdma";
import { kindOf, marks, markWords } from "@peerbar/words";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { paintMatrix, readPalette } from "./matrix-paint.js";
import { shortener } from "./tree-layout.js";

export interface MatrixProps {
  readonly topology: PciTopology;
  readonly members: readonly string[];
  readonly pairs: PairMatrix;
  readonly was: PairMatrix | undefined;
  readonly provider: string | undefined;
  readonly client: string | undefined;
  readonly found: ReadonlySet<string>;
  /** Changes whenever colours do. */
  readonly theme: string;
  readonly onChoose: (provider: string, client: string) => void;
}

interface Cell {
  readonly row: number;
  readonly column: number;
}

/** Cell sizes that the zoom buttons step through, in CSS pixels. */
const zooms = [2, 3, 5, 8, 13, 16, 20, 24, 30];
/** Browsers paint no larger canvas. */
const LARGEST = 4000;

/** The ordered-pair matrix as a heat map. Rows are providers, columns clients, as in `peerbar matrix`. */
export function Matrix(props: MatrixProps): JSX.Element {
  const { members, pairs, topology } = props;
  const frame = useRef<HTMLDivElement>(null);
  const [room, setRoom] = useState(0);
  const [zoom, setZoom] = useState<number | undefined>(undefined);
  const [hover, setHover] = useState<Cell | undefined>(undefined);
  const chosen = cellOf(members, props.provider, props.client);
  const [moved, setMoved] = useState<Cell | undefined>(undefined);
  useLayoutEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => {
      setRoom(element.clientWidth);
    });
    observer.observe(element);
    setRoom(element.clientWidth);
    return () => {
      observer.disconnect();
    };
  }, []);
  // another pair or filter takes the keyboard's cell along
  useEffect(() => {
    setMoved(undefined);
  }, [props.provider, props.client, members]);
  const names = useMemo(() => labelsOf(topology, members), [topology, members]);
  const cell = zoom ?? fitCell(members.length, room, names.width);
  const at = moved ?? chosen ?? { row: 0, column: 0 };
  const tell = (where: Cell): string => sentence(props, where);
  const steps = zooms.filter((one) => one * members.length <= LARGEST);
  return (
    <div class="matrix" ref={frame}>
      <div class="bar">
        <Legend changed={props.was !== undefined} />
        <span class="zoom">
          <button
            type="button"
            aria-label="smaller cells"
            onClick={() => {
              setZoom(steps.filter((one) => one < cell).at(-1) ?? cell);
            }}
          >
            −
          </button>
          <button
            type="button"
            aria-label="larger cells"
            onClick={() => {
              setZoom(steps.find((one) => one > cell) ?? cell);
            }}
          >
            +
          </button>
        </span>
      </div>
      <HeatMap
        {...props}
        names={names}
        cell={cell}
        at={at}
        chosen={chosen}
        hover={hover}
        onHover={setHover}
        onMove={setMoved}
        tell={tell}
      />
      <p class="readout">{pairs.size === 0 ? "no function is selected" : tell(hover ?? at)}</p>
    </div>
  );
}

function cellOf(
  members: readonly string[],
  provider: string | undefined,
  client: string | undefined,
): Cell | undefined {
  const row = members.indexOf(provider ?? "");
  const column = members.indexOf(client ?? "");
  return row < 0 || column < 0 ? undefined : { row, column };
}

function fitCell(count: number, room: number, labels: number): number {
  const whole = Math.floor((room - labels - 14) / Math.max(1, count));
  const fingers = globalThis.matchMedia("(pointer: coarse)").matches || room < 480;
  const least = count <= 64 ? (fingers ? 24 : 16) : 2;
  return Math.max(
    least,
    Math.min(fingers || count <= 16 ? 28 : 22, whole, Math.floor(LARGEST / Math.max(1, count))),
  );
}

interface Labels {
  readonly texts: readonly string[];
  /** CSS pixels that the longest needs. */
  readonly width: number;
}

function labelsOf(topology: PciTopology, members: readonly string[]): Labels {
  const short = shortener(topology);
  const texts = members.map((name) => {
    const fn = topology.at(name);
    const kind = kindOf(fn) ?? "";
    return `${short(name)} ${fn.physfn >= 0 ? `${kind} VF` : kind}`.trim();
  });
  return { texts, width: Math.max(0, ...texts.map((text) => text.length)) * 6.3 + 10 };
}

function sentence({ topology, members, pairs, was }: MatrixProps, { row, column }: Cell): string {
  const [provider, client] = [members[row], members[column]];
  if (provider === undefined || client === undefined) return "";
  const name = (address: string): string => {
    const fn = topology.at(address);
    return [address, kindOf(fn) ?? "", ...fn.deviceNames].filter((part) => part !== "").join(" ");
  };
  const mapType = pairs.mapTypeAt(row, column);
  const before = was?.mapTypeAt(row, column) ?? mapType;
  const change = before === mapType ? "" : `, before: ${markWords[before]}`;
  return `provider ${name(provider)}, client ${name(client)}: ${markWords[mapType]} (${marks[mapType]}), distance ${String(pairs.distanceAt(row, column))}${change}`;
}

function Legend({ changed }: { readonly changed: boolean }): JSX.Element {
  return (
    <ul class="legend">
      {(Object.keys(marks) as (keyof typeof marks)[]).map((mapType) => (
        <li key={mapType}>
          <span class={`swatch ${mapType}`} aria-hidden="true">
            {marks[mapType]}
          </span>
          {markWords[mapType]}
        </li>
      ))}
      {changed && (
        <li>
          <span class="swatch corner" aria-hidden="true" />
          differs from the capture
        </li>
      )}
    </ul>
  );
}

interface HeatMapProps extends MatrixProps {
  readonly names: Labels;
  readonly cell: number;
  readonly at: Cell;
  readonly chosen: Cell | undefined;
  readonly hover: Cell | undefined;
  readonly onHover: (cell: Cell | undefined) => void;
  readonly onMove: (cell: Cell) => void;
  readonly tell: (cell: Cell) => string;
}

function HeatMap(props: HeatMapProps): JSX.Element {
  const { cell, names, members, at, chosen } = props;
  const n = members.length;
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const side = n * cell;
  const labelled = cell >= 11;
  const { pairs, was, theme } = props;
  // the theme changes what the style sheet says
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
  useEffect(() => {
    if (box.current !== null) reveal(box.current, at, cell);
  }, [at.row, at.column, cell]);
  const cellUnder = (event: MouseEvent): Cell => {
    const { left, top } = (event.currentTarget as Element).getBoundingClientRect();
    const index = (offset: number): number =>
      Math.max(0, Math.min(n - 1, Math.floor(offset / cell)));
    return { row: index(event.clientY - top), column: index(event.clientX - left) };
  };
  const choose = ({ row, column }: Cell): void => {
    const [provider, client] = [members[row], members[column]];
    if (provider !== undefined && client !== undefined) props.onChoose(provider, client);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(at);
      return;
    }
    const next = step(at, event.key, n);
    if (next === undefined) return;
    event.preventDefault();
    props.onMove(next);
  };
  const look = props.hover ?? at;
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
          aria-selected={same(at, chosen)}
        >
          {n > 0 ? props.tell(at) : "no pair"}
        </span>
      </div>
      {/* The picture says to the eye what the grid's cell says to a screen reader. */}
      <div
        class="plot"
        aria-hidden="true"
        style={{
          gridTemplateColumns: `${String(labelled ? names.width : 16)}px ${String(side)}px`,
        }}
      >
        <div class="corner">{labelled ? "provider ↓ client →" : ""}</div>
        <div class="columns" style={{ height: `${String(labelled ? names.width : 16)}px` }}>
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
        {/* Keys are handled by the grid. */}
        <div
          class="cells"
          style={{ width: `${String(side)}px`, height: `${String(side)}px` }}
          onClick={(event: MouseEvent) => {
            choose(cellUnder(event));
          }}
          onMouseMove={(event: MouseEvent) => {
            const next = cellUnder(event);
            if (!same(next, props.hover)) props.onHover(next);
          }}
          onMouseLeave={() => {
            props.onHover(undefined);
          }}
        >
          <canvas
            ref={canvas}
            style={{ width: `${String(side)}px`, height: `${String(side)}px` }}
          />
          {chosen !== undefined && <Mark kind="chosen" cell={cell} at={chosen} />}
          {n > 0 && <Mark kind="at" cell={cell} at={at} />}
        </div>
      </div>
    </div>
  );
}

function headClass(props: HeatMapProps, index: number, active: number): string {
  const name = props.members[index] ?? "";
  return `${index === active ? "active" : ""}${props.found.has(name) ? " found" : ""}`.trim();
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
