import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import type { EpisodeData } from "../data.js";
import { type Lane, type Lanes, lanesOf, type Row, type Span } from "./lanes.js";

/** Where a lane is, in units of the width that the style sheet gives one. */
const laneAt = (lane: number): string => `calc(var(--pitch) * ${String(lane)})`;

/** A run as a table with time going down: lanes show what is held, mapped and void; each row is one event. */
export function Episode({ episode }: { readonly episode: EpisodeData }): JSX.Element {
  const lanes = useMemo(() => lanesOf(episode.events), [episode]);
  const [lane, setLane] = useState<number | undefined>(undefined);
  return (
    <section class="episode" aria-labelledby="episode-title">
      <div class={`verdict ${episode.ok ? "bus-addr" : "not-supported"}`}>
        <h2 id="episode-title">
          <span class="sign" aria-hidden="true">
            {episode.ok ? "✓" : "✕"}
          </span>
          {episode.title}
        </h2>
        <p class="reason">
          {episode.outcome}; {String(episode.events.length)} events.
          {episode.trace !== undefined && ` For Perfetto or chrome://tracing: ${episode.trace}.`}
        </p>
      </div>
      <LaneKey lanes={lanes.lanes} chosen={lane} onChoose={setLane} />
      <table class="timeline">
        <caption>Every event in order; time goes down</caption>
        <thead>
          <tr>
            <th scope="col">
              <span class="hidden">number</span>#
            </th>
            <th
              scope="col"
              class="lanes"
              style={{ minWidth: `calc(var(--pitch) * ${String(lanes.lanes.length)} + 8px)` }}
            >
              <span class="hidden">lanes</span>
              {lanes.lanes.map((one, i) => (
                <span key={one.key} class="letter" aria-hidden="true" style={{ left: laneAt(i) }}>
                  {letter(i)}
                </span>
              ))}
            </th>
            <th scope="col">event</th>
          </tr>
        </thead>
        {episode.steps.map((step, i) => (
          <Step
            key={String(i)}
            number={i + 1}
            step={step}
            lanes={lanes}
            to={episode.steps[i + 1]?.first ?? episode.events.length}
            lane={lane}
          />
        ))}
      </table>
    </section>
  );
}

const letter = (index: number): string =>
  index < 26 ? String.fromCharCode(65 + index) : String(index + 1);

function LaneKey({
  lanes,
  chosen,
  onChoose,
}: {
  readonly lanes: readonly Lane[];
  readonly chosen: number | undefined;
  readonly onChoose: (lane: number | undefined) => void;
}): JSX.Element {
  return (
    <div class="lane-key">
      <ul aria-label="lanes; press one to dim the others">
        {lanes.map((lane, i) => (
          <li key={lane.key}>
            <button
              type="button"
              aria-pressed={chosen === i}
              onClick={() => {
                onChoose(chosen === i ? undefined : i);
              }}
            >
              <b>{letter(i)}</b> {lane.label}
            </button>
          </li>
        ))}
      </ul>
      <ul class="legend">
        {(
          [
            ["alive", "exported, attached"],
            ["held", "lock held"],
            ["mapped", "mapped: DMA may come"],
            ["void", "revoked"],
            ["busy", "in reset, draining"],
          ] as const
        ).map(([state, words]) => (
          <li key={state}>
            <span class={`stretch ${state}`} aria-hidden="true" />
            {words}
          </li>
        ))}
      </ul>
    </div>
  );
}

function Step({
  number,
  step,
  lanes,
  to,
  lane,
}: {
  readonly number: number;
  readonly step: EpisodeData["steps"][number];
  readonly lanes: Lanes;
  readonly to: number;
  readonly lane: number | undefined;
}): JSX.Element {
  const failed = step.checks.filter((check) => !check.ok).length;
  const head = (
    <>
      <span class="number">{String(number)}</span> {step.title}
      {step.checks.length > 0 && (
        <span class={failed === 0 ? "passed" : "failed"}>
          {failed === 0
            ? `✓ ${String(step.checks.length)} check${step.checks.length === 1 ? "" : "s"}`
            : `✕ ${String(failed)} failed`}
        </span>
      )}
    </>
  );
  return (
    <tbody>
      <tr class="step">
        <th scope="rowgroup" colSpan={3}>
          {step.lines.length + step.checks.length === 0 ? (
            head
          ) : (
            <details open={to === step.first}>
              <summary>{head}</summary>
              {step.lines.map((line) => (
                <p key={line}>{line}</p>
              ))}
              <ul>
                {step.checks.map((check) => (
                  <li key={check.what}>
                    {check.ok ? "✓" : "✕ FAILED:"} {check.what}
                  </li>
                ))}
              </ul>
            </details>
          )}
        </th>
      </tr>
      {lanes.rows.slice(step.first, to).map((row, i) => (
        <EventRow
          key={String(step.first + i)}
          row={row}
          index={step.first + i}
          lanes={lanes}
          lane={lane}
        />
      ))}
    </tbody>
  );
}

function EventRow({
  row,
  index,
  lanes,
  lane,
}: {
  readonly row: Row;
  readonly index: number;
  readonly lanes: Lanes;
  readonly lane: number | undefined;
}): JSX.Element {
  const label = lanes.lanes[row.lane]?.label ?? "";
  const dimmed = lane !== undefined && lane !== row.lane;
  return (
    <tr class={`${row.tone}${dimmed ? " dimmed" : ""}`}>
      <td class="number">{String(index + 1)}</td>
      <td class="lanes">
        {lanes.spans
          .filter((span) => span.from <= index && index <= span.to)
          .map((span) => (
            <Stretch
              key={`${span.state} ${String(span.lane)} ${String(span.from)}`}
              span={span}
              index={index}
            />
          ))}
        <span class="sign" style={{ left: laneAt(row.lane) }} aria-hidden="true">
          {row.sign}
        </span>
      </td>
      <td>
        <div class="what">
          <span class="type">{row.event.type}</span> <span class="sentence">{row.words}</span>{" "}
          <span class="lane-name">{label}</span>
        </div>
      </td>
    </tr>
  );
}

function Stretch({ span, index }: { readonly span: Span; readonly index: number }): JSX.Element {
  const ends = `${index === span.from ? " first" : ""}${index === span.to ? " last" : ""}`;
  return (
    <span
      class={`stretch ${span.state}${ends}`}
      style={{ left: laneAt(span.lane) }}
      aria-hidden="true"
    />
  );
}
