import { matrix, type PciTopology } from "@peerbar/p2pdma";
import { type Account, accountOf, verdictOf } from "@peerbar/words";
import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useState } from "preact/hooks";
import type { EpisodeData, ReportData } from "../data.js";
import { readPlace, writePlace } from "./address.js";
import { changes, clearRedirects, nothingChanged, type WhatIfState } from "./edits.js";
import { Episode } from "./episode.js";
import { Filters } from "./filters.js";
import {
  effectOf,
  type Filter,
  firstFilter,
  firstPair,
  type Machine,
  machineOf,
  membersOf,
  usable,
} from "./machine.js";
import { Matrix } from "./matrix.js";
import { Search, search } from "./search.js";
import { useTheme } from "./theme.js";
import { type Pair, Trees } from "./trees.js";
import { AdviceList, Facts, Question, Verdict, WayTable } from "./verdict.js";
import { WhatIf } from "./what-if.js";

export interface AppProps {
  readonly topology: PciTopology;
  readonly data: ReportData;
}

/** The whole page. */
export function App({ topology, data }: AppProps): JSX.Element {
  const theme = useTheme();
  const [view, setView] = useState<"episode" | "machine">(
    data.episode === undefined ? "machine" : "episode",
  );
  const [query, setQuery] = useState("");
  const hits = useMemo(() => search(topology, query), [topology, query]);
  const found = useMemo(() => new Set(hits.map((fn) => fn.address)), [hits]);
  const state = usePair(topology, data);
  return (
    <>
      <header class="top">
        <div>
          <h1 title={topology.source.name}>{topology.source.name.split("/").at(-1)}</h1>
          <p class="meta">{machineText(topology, data)}</p>
        </div>
        <div class="tools">
          <Search
            topology={topology}
            query={query}
            hits={hits}
            onQuery={setQuery}
            onChoose={(address, as) => {
              state.setPair({ ...state.pair, [as]: address });
              setView("machine");
            }}
          />
          <PageButtons theme={theme} />
        </div>
      </header>
      {data.episode !== undefined && <Views view={view} onView={setView} />}
      <main>
        {data.episode !== undefined && view === "episode" ? (
          <Episode episode={data.episode} />
        ) : (
          <MachineView {...state} topology={topology} found={found} theme={theme.painted} />
        )}
        <Notes topology={topology} />
      </main>
    </>
  );
}

function PageButtons({ theme }: { readonly theme: ReturnType<typeof useTheme> }): JSX.Element {
  return (
    <>
      <button type="button" onClick={theme.next} aria-label={`theme: ${theme.chosen}`}>
        {theme.chosen}
      </button>
      <button
        type="button"
        onClick={() => {
          globalThis.print();
        }}
      >
        print
      </button>
    </>
  );
}

/** A page about a run that belongs to no machine. */
export function RunApp({ episode }: { readonly episode: EpisodeData }): JSX.Element {
  const theme = useTheme();
  return (
    <>
      <header class="top">
        <div>
          <h1>{episode.title}</h1>
          <p class="meta">{String(episode.steps.length)} steps</p>
        </div>
        <div class="tools">
          <PageButtons theme={theme} />
        </div>
      </header>
      <main>
        <Episode episode={episode} />
      </main>
    </>
  );
}

function Views({
  view,
  onView,
}: {
  readonly view: string;
  readonly onView: (view: "episode" | "machine") => void;
}): JSX.Element {
  return (
    <nav class="views" aria-label="views">
      {(["episode", "machine"] as const).map((name) => (
        <button
          key={name}
          type="button"
          aria-pressed={view === name}
          onClick={() => {
            onView(name);
          }}
        >
          {name}
        </button>
      ))}
    </nav>
  );
}

function machineText({ functions, hostBridges, source }: PciTopology, data: ReportData): string {
  const evidence = data.cpuEvidence === "" ? "the input does not say" : data.cpuEvidence;
  return `${String(functions.length)} functions, ${String(hostBridges.length)} host bridge${hostBridges.length === 1 ? "" : "s"}; CPU ${data.cpu} (${evidence}); from ${source.format}`;
}

function Notes({ topology }: { readonly topology: PciTopology }): JSX.Element | null {
  const { missing, warnings } = topology.source;
  if (missing.length + warnings.length === 0) return null;
  return (
    <section class="notes" aria-labelledby="notes-title">
      <h2 id="notes-title">What the input does not show</h2>
      <ul>
        {[...missing, ...warnings].map((text) => (
          <li key={text}>{text}</li>
        ))}
      </ul>
    </section>
  );
}

interface PairState {
  readonly base: Machine;
  readonly machine: Machine;
  readonly pair: Pair;
  readonly setPair: (pair: Pair) => void;
  readonly whatIf: WhatIfState;
  readonly setWhatIf: (state: WhatIfState) => void;
}

/** The pair that is looked at and the edits, kept in the address. */
function usePair(topology: PciTopology, data: ReportData): PairState {
  const start = useMemo(() => {
    const place = readPlace(globalThis.location.hash);
    const has = (name: string | undefined): name is string =>
      name !== undefined && topology.get(name) !== undefined;
    const machine = machineOf(topology, data, nothingChanged);
    const { provider, client } =
      has(place.provider) && has(place.client) ? place : (data.pair ?? {});
    const [a, b] =
      provider !== undefined && client !== undefined
        ? [provider, client]
        : (firstPair(machine.p2pdma, membersOf(topology, firstFilter(topology))) ?? [
            undefined,
            undefined,
          ]);
    return { machine, pair: { provider: a, client: b }, whatIf: usable(topology, place.whatIf) };
  }, [topology, data]);
  const [pair, setPair] = useState<Pair>(start.pair);
  const [whatIf, setWhatIf] = useState(start.whatIf);
  const machine = useMemo(() => machineOf(topology, data, whatIf), [topology, data, whatIf]);
  useLayoutEffect(() => {
    globalThis.history.replaceState(null, "", writePlace({ ...pair, whatIf }));
  }, [pair, whatIf]);
  return { base: start.machine, machine, pair, setPair, whatIf, setWhatIf };
}

interface MachineViewProps extends PairState {
  readonly topology: PciTopology;
  readonly found: ReadonlySet<string>;
  readonly theme: string;
}

function tell(machine: Machine, { provider, client }: Pair): Account | undefined {
  if (provider === undefined || client === undefined) return undefined;
  return accountOf(machine.subject, machine.p2pdma, machine.p2pdma.decide(provider, client));
}

function MachineView(props: MachineViewProps): JSX.Element {
  const { topology, base, machine, pair, setPair, whatIf, setWhatIf } = props;
  const [port, setPort] = useState<string | undefined>(undefined);
  const [filter, setFilter] = useState<Filter>(() => firstFilter(topology));
  const members = useMembers(topology, filter, pair);
  const edited = changes(whatIf);
  const was = useMemo(() => matrix(base.p2pdma, members), [base, members]);
  const pairs = useMemo(
    () => (edited ? matrix(machine.p2pdma, members) : was),
    [machine, edited, was, members],
  );
  const account = useMemo(() => tell(machine, pair), [machine, pair]);
  const before = useMemo(() => (edited ? tell(base, pair) : undefined), [base, pair, edited]);
  const effect = useMemo(
    () => effectOf(topology, whatIf, was, pairs),
    [topology, whatIf, was, pairs],
  );
  const choose = (provider: string | undefined, client: string | undefined): void => {
    setPair({ provider, client });
  };
  return (
    <div class="machine">
      <div class="words">
        <Question topology={topology} {...pair} onChoose={choose} />
        <p class="hidden" role="status">
          {account === undefined ? "" : spoken(account)}
        </p>
        {account !== undefined && (
          <>
            <Verdict account={account} before={before} />
            <WayTable account={account} />
            <AdviceList
              account={account}
              onTry={(ports) => {
                setWhatIf(clearRedirects(whatIf, machine.subject.topology, ports));
              }}
            />
            <Facts account={account} />
          </>
        )}
        <WhatIf
          topology={topology}
          state={whatIf}
          machine={machine}
          account={account}
          effect={effect}
          port={port}
          onChange={setWhatIf}
        />
      </div>
      <div class="pictures">
        <Trees {...props} account={account} onPort={setPort}>
          <section aria-labelledby="matrix-title">
            <h2 id="matrix-title">Every pair</h2>
            <Filters topology={topology} filter={filter} onFilter={setFilter} />
            <Matrix
              topology={machine.subject.topology}
              members={members}
              pairs={pairs}
              was={edited ? was : undefined}
              {...pair}
              found={props.found}
              theme={props.theme}
              onChoose={choose}
            />
          </section>
        </Trees>
      </div>
    </div>
  );
}

function spoken(account: Account): string {
  const { client, provider } = account.decision;
  const { words, reason } = verdictOf(account);
  return `client ${client} to provider ${provider}: ${words}. ${reason}`;
}

/** The functions of the matrix; the pair that is looked at is always among them. */
function useMembers(
  topology: PciTopology,
  filter: Filter,
  { provider, client }: Pair,
): readonly string[] {
  const plain = useMemo(() => membersOf(topology, filter), [topology, filter]);
  return useMemo(() => {
    const both = [provider, client].filter((name) => name !== undefined);
    return both.every((name) => plain.includes(name)) ? plain : membersOf(topology, filter, both);
  }, [topology, filter, plain, provider, client]);
}
