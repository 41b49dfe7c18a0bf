import type { DmaBufEvent } from "@peerbar/core";
import type { Failure, FailureKind } from "./failure.js";
import { type Outcome, Runner } from "./runner.js";
import type { Scenario } from "./scenario.js";
import { formatSchedule, letterOf, parseSchedule } from "./schedule.js";
import { Script } from "./script.js";
import { nameOf } from "./stage.js";

/** A run that a schedule prescribed. */
export interface Replay {
  readonly failure: Failure | undefined;
  /** Steps that ran, one a line: who, and from where. */
  readonly trace: readonly string[];
  /** What was told to `stage.events`, each with the number of its step from 1; 0 for the setup. */
  readonly events: readonly { readonly step: number; readonly event: DmaBufEvent }[];
}

/**
 * Runs exactly the order that a failure was found in.
 *
 * @throws ScenarioError where the text is no schedule, or not one of this scenario.
 */
export async function replay(scenario: Scenario, schedule: string): Promise<Replay> {
  const moves = parseSchedule(schedule);
  const runner = new Runner(scenario);
  const events: { step: number; event: DmaBufEvent }[] = [];
  const keep: Runner["onEvent"] = (event, { steps }) => {
    events.push({ step: steps.length, event });
  };
  runner.onEvent = keep;
  runner.open();
  try {
    const script = new Script(moves, true);
    const outcome = await runner.run(script);
    script.assertUsed();
    return { failure: failureOf(outcome), trace: traceOf(outcome), events };
  } finally {
    runner.close();
  }
}

/** The failure of one run, for people. */
export function failureOf(outcome: Outcome): Failure | undefined {
  const { failure } = outcome.execution;
  if (failure === undefined) return undefined;
  const found = failureFrom(outcome, failure.kind, failure.message, failure.detail ?? null);
  const other = failure.back.find((edge) => edge.schedule !== undefined);
  return {
    ...found,
    actor: outcome.actors[failure.actor]?.name ?? null,
    otherSchedule: other?.schedule === found.schedule ? null : (other?.schedule ?? null),
  };
}

/** What one run shows, of no actor in particular. */
export function failureFrom(
  outcome: Outcome,
  kind: FailureKind,
  message: string,
  detail: string | null,
): Failure {
  return {
    kind,
    message,
    actor: null,
    detail,
    schedule: formatSchedule(outcome.moves),
    otherSchedule: null,
    preemptions: outcome.preemptions,
    trace: traceOf(outcome),
  };
}

function traceOf({ execution, actors }: Outcome): readonly string[] {
  return execution.steps.map(({ task: { actor, kind, on } }) => {
    return `${letterOf(actor)} ${nameOf(actor, actors)}: ${kind} ${on}`;
  });
}
