import type { PairMatrix, PciTopology } from "@peerbar/p2pdma";
import { kindOf, marks, markWords } from "@peerbar/words";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Cell, HeatMap, LARGEST, type Labels } from "./heat-map.js";
import { shortener } from "./tree-node.js";

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

/** Cell sizes that the zoom buttons step through, in CSS pixels. */
const zooms = [2, 3, 5, 8, 13, 16, 20, 24, 30];

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
