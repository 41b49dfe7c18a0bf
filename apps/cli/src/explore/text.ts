import type { Failure, Replay, Verdict } from "@peerbar/conformance/explore";
import { plural } from "../wrap.js";
import type { Timed } from "./session.js";

/** Steps shown of either end of a long run. */
const TRACE_END = 20;

/** One scenario's result, for people. */
export function explorationText(one: Timed, files: readonly string[]): string {
  const { shards, countsExact } = one;
  const about = countsExact ? "" : "at most ";
  const rate = one.seconds > 0 ? Math.round(one.interleavings / one.seconds) : 0;
  const lines = [
    `${one.scenario}: ${verdictText(one.verdict, one)}`,
    `  ${plural(one.interleavings, "interleaving")} run, ${one.pruned} cut short, ${about}${plural(one.classes, "class", "classes")}, ${about}${plural(one.states, "state")}`,
    `  ${one.steps} steps in ${one.seconds.toFixed(1)} s, ${rate} interleavings/s; at most ${plural(one.maxPreemptions, "preemption")} in one`,
  ];
  if (one.edges !== null) lines.push(`  ${one.edges} edges covered`);
  if (shards.done.length < shards.count) {
    const parts = shards.done.map((shard) => `${shard}/${shards.count}`).join(", ");
    lines.push(`  shard ${parts}: the others must be run, too`);
  }
  if (one.lockOrder.length > 0) {
    lines.push(`  lock order: ${one.lockOrder.map((edge) => edge.join(" > ")).join(", ")}`);
  }
  const again = [
    "peerbar explore",
    ...files.map((file) => (/^[\w./-]+$/.test(file) ? file : quoted(file))),
    `--only ${quoted(one.scenario)} --replay`,
  ].join(" ");
  for (const failure of one.failures) lines.push("", ...failureLines(failure, again));
  return `${lines.join("\n")}\n`;
}

/** One replayed order, step by step. */
export function replayText(replayed: Replay & { readonly scenario: string }): string {
  const lines = [replayed.scenario];
  for (const [i, step] of replayed.trace.entries()) {
    lines.push(`  ${String(i + 1).padStart(3)}  ${step}`);
    for (const { event } of replayed.events.filter((one) => one.step === i + 1)) {
      lines.push(`         ${eventText(event)}`);
    }
  }
  const { failure } = replayed;
  lines.push(
    failure === undefined ? "no failure in this order" : `${failure.kind}: ${failure.message}`,
  );
  if (failure?.detail != null) lines.push(...indent(failure.detail));
  return `${lines.join("\n")}\n`;
}

/** What may be said, in words that do not say more. */
function verdictText(verdict: Verdict, { failures, bound, shards }: Timed): string {
  const part = shards.done.length < shards.count ? " of this part" : "";
  switch (verdict) {
    case "failure":
      return plural(failures.length, "failure");
    case "exhausted":
      return `proven: every order${part} was run, up to order of steps that commute`;
    case "proven-to-bound":
      return `proven up to ${plural(bound ?? 0, "preemption")}: every such order${part} was run`;
    case "not-exhausted":
      return "no failure found; not every order was run";
  }
}

function failureLines(failure: Failure, again: string): readonly string[] {
  const { kind, message, detail, schedule, otherSchedule, trace } = failure;
  return [
    `  ${kind}: ${message}`,
    `    again: ${again} ${quoted(schedule)}`,
    ...(otherSchedule === null ? [] : [`    the other order: --replay ${quoted(otherSchedule)}`]),
    ...shortened(trace).map((step) => `    ${step}`),
    ...(detail === null ? [] : indent(detail)),
  ];
}

/** Both ends of a run too long to be read. */
function shortened(trace: readonly string[]): readonly string[] {
  const left = trace.length - 2 * TRACE_END;
  if (left <= TRACE_END) return trace;
  return [
    ...trace.slice(0, TRACE_END),
    `... ${left} steps; --json has all`,
    ...trace.slice(-TRACE_END),
  ];
}

/** As one word of a shell's command line. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function indent(text: string): readonly string[] {
  return text.split("\n").map((line) => `    ${line.trim()}`);
}

function eventText(event: Replay["events"][number]["event"]): string {
  const { type, ...fields } = event;
  const words = Object.entries(fields).map(([key, value]) => `${key}=${String(value)}`);
  return [type, ...words].join(" ");
}
