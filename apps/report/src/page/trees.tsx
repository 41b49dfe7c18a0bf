import type { Account } from "@peerbar/words";
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import type { Machine } from "./machine.js";
import { Tree } from "./tree.js";
import { layOut, type PlacedNode } from "./tree-layout.js";
import { wayOver } from "./way.js";

/** The pair that is looked at. */
export interface Pair {
  readonly provider: string | undefined;
  readonly client: string | undefined;
}

export interface TreesProps {
  readonly machine: Machine;
  readonly pair: Pair;
  readonly setPair: (pair: Pair) => void;
  /** Addresses that a search found. */
  readonly found: ReadonlySet<string>;
  readonly account: Account | undefined;
  readonly onPort: (address: string) => void;
  readonly children: JSX.Element;
}

/** The way alone above the matrix, and the whole machine below it. */
export function Trees(props: TreesProps): JSX.Element {
  const { machine, pair, setPair, account } = props;
  const { topology } = machine.subject;
  const [vfs, setVfs] = useState(false);
  const [crowd, setCrowd] = useState(false);
  const [turn, setTurn] = useState<"provider" | "client">("provider");
  const way = useMemo(
    () => (account === undefined ? undefined : wayOver(topology, account.decision)),
    [topology, account],
  );
  const ends = useMemo(
    () => [pair.provider, pair.client].filter((name) => name !== undefined),
    [pair],
  );
  const small = useMemo(
    () => layOut(topology, { only: ends, vfs: true, crowd: true, always: ends }),
    [topology, ends],
  );
  const large = useMemo(
    () => layOut(topology, { vfs, crowd, always: ends }),
    [topology, vfs, crowd, ends],
  );
  const onChoose = (node: PlacedNode, as: "provider" | "client" | undefined): void => {
    if (node.kind === "port") props.onPort(node.key);
    if (node.kind !== "end") return;
    const part = as ?? turn;
    setPair({ ...pair, [part]: node.key });
    setTurn(part === "provider" ? "client" : "provider");
  };
  const shared = { way, ...pair, onChoose };
  return (
    <>
      {ends.length > 0 && (
        <section aria-labelledby="way-title">
          <h2 id="way-title">The way</h2>
          <WayKey />
          <div class="scroll">
            <Tree label="the way of this pair" picture={small} found={new Set()} {...shared} />
          </div>
        </section>
      )}
      {props.children}
      <section aria-labelledby="tree-title">
        <h2 id="tree-title">The machine</h2>
        <div class="bar">
          <Filters vfs={vfs} setVfs={setVfs} crowd={crowd} setCrowd={setCrowd} />
          <p class="hint">
            The next device you click becomes the <b>{turn}</b>; on the keyboard P and C choose. A
            port goes to “What if”.
          </p>
        </div>
        <TreeKey />
        <div class="scroll">
          <Tree
            label="the PCI tree of the machine"
            picture={large}
            found={props.found}
            {...shared}
          />
        </div>
      </section>
    </>
  );
}

interface FiltersProps {
  readonly vfs: boolean;
  readonly setVfs: (shown: boolean) => void;
  readonly crowd: boolean;
  readonly setCrowd: (shown: boolean) => void;
}

/** Which functions the tree of the machine unfolds. */
function Filters({ vfs, setVfs, crowd, setCrowd }: FiltersProps): JSX.Element {
  return (
    <fieldset class="filters">
      <legend class="hidden">functions in the tree</legend>
      <label>
        <input
          type="checkbox"
          checked={vfs}
          onChange={() => {
            setVfs(!vfs);
          }}
        />
        <span>virtual functions</span>
      </label>
      <label>
        <input
          type="checkbox"
          checked={crowd}
          onChange={() => {
            setCrowd(!crowd);
          }}
        />
        <span>CPU functions of the root buses</span>
      </label>
    </fieldset>
  );
}

function WayKey(): JSX.Element {
  return (
    <ul class="legend">
      <li>
        <span class="part P">P</span>provider's side, solid
      </li>
      <li>
        <span class="part C">C</span>client's side, dashed
      </li>
      <li>
        <span class="stop">RR CR</span>turns this pair's requests up
      </li>
      <li>
        <span class="ring" aria-hidden="true" />
        both meet
      </li>
    </ul>
  );
}

function TreeKey(): JSX.Element {
  return (
    <ul class="legend">
      <li>
        <code>32x16</code>link, GT/s x lanes
      </li>
      <li>
        <code class="slowed">16x8/32x16</code>below its best, dashed
      </li>
      <li>
        <span class="tag">RR CR</span>ACS redirects
      </li>
      <li>
        <span class="tag unknown">?</span>ACS not shown
      </li>
      <li>
        <span class="frame" aria-hidden="true" />
        one switch
      </li>
    </ul>
  );
}
