import type { PciFunctionInfo, PciTopology } from "@peerbar/p2pdma";
import { kindOf, nameOf } from "@peerbar/words";
import type { JSX } from "preact";
import { useId } from "preact/hooks";

/** Functions whose address, name, driver, kind or kernel names hold every word of a query. */
export function search(topology: PciTopology, query: string): readonly PciFunctionInfo[] {
  const wanted = query
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  if (wanted.length === 0) return [];
  return topology.functions.filter((fn) => {
    const text = [fn.address, nameOf(fn), kindOf(fn) ?? "", fn.driver ?? "", ...fn.deviceNames]
      .join(" ")
      .toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
}

const LISTED = 12;

export interface SearchProps {
  readonly topology: PciTopology;
  readonly query: string;
  readonly hits: readonly PciFunctionInfo[];
  readonly onQuery: (query: string) => void;
  readonly onChoose: (address: string, as: "provider" | "client") => void;
}

/** A search field, and what it found: each hit can become provider or client. */
export function Search({ topology, query, hits, onQuery, onChoose }: SearchProps): JSX.Element {
  const id = useId();
  const ends = new Set(topology.endpoints());
  return (
    <search class="search">
      <label class="hidden" htmlFor={id}>
        search functions
      </label>
      <input
        id={id}
        type="search"
        placeholder="search: 1b:00, mlx5, H800 …"
        value={query}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => {
          onQuery(event.currentTarget.value);
        }}
        onKeyDown={(event) => {
          if (event.key === "Escape") onQuery("");
        }}
      />
      <p class="hidden" role="status">
        {query === "" ? "" : `${String(hits.length)} function${hits.length === 1 ? "" : "s"} found`}
      </p>
      {query !== "" && (
        <div class="hits">
          <p>
            {String(hits.length)} of {String(topology.functions.length)} functions
            {hits.length > LISTED ? `; the first ${String(LISTED)}` : ""}
          </p>
          <ul>
            {hits.slice(0, LISTED).map((fn) => (
              <li key={fn.address}>
                <span class="address">{fn.address}</span>
                <span class="name">
                  {[kindOf(fn) ?? "", ...fn.deviceNames, nameOf(fn)].join(" ").trim()}
                </span>
                {ends.has(fn) &&
                  (["provider", "client"] as const).map((as) => (
                    <button
                      key={as}
                      type="button"
                      aria-label={`${fn.address} as ${as}`}
                      onClick={() => {
                        onChoose(fn.address, as);
                      }}
                    >
                      {as}
                    </button>
                  ))}
              </li>
            ))}
          </ul>
        </div>
      )}
    </search>
  );
}
