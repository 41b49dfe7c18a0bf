import { Exhaustive } from "./exhaustive.js";
import type { Failure } from "./failure.js";
import { RandomOrders } from "./random.js";
import { Script } from "./replay.js";
import { type Outcome, Runner } from "./runner.js";
import type { Scenario } from "./scenario.js";
import { formatSchedule, letterOf, parseSchedule } from "./schedule.js";
import { nameOf } from "./stage.js";
import type { Strategy } from "./strategy.js";

export type StrategyName = "exhaustive" | "random";

export interface ExploreOptions {
  /** `exhaustive` by default. */
  readonly strategy?: StrategyName | undefined;
  /** Runs at most; 100 000 by default. */
  readonly runs?: number | undefined;
  /** For random orders. 1 by default. */
  readonly seed?: number | undefined;
  /** False runs equivalent orders too: to check the explorer itself. */
  readonly reduce?: boolean | undefined;
  /** Stops after so many failures of different kinds or messages; 1 by default. */
  readonly maxFailures?: number | undefined;
}

/** What an exploration came to. */
export interface Exploration {
  readonly schemaVersion: 1;
  readonly scenario: string;
  readonly strategy: StrategyName;
  /** Orders run to their end. */
  readonly interleavings: number;
  /** Runs cut short: everything they could still do had been seen. */
  readonly pruned: number;
  readonly steps: number;
  /** Every order has been seen, up to order of steps that commute. */
  readonly exhausted: boolean;
  readonly failures: readonly Failure[];
}

/**
 * Runs the scenario in many orders and reports what it finds.
 *
 * @throws ScenarioError where the scenario cannot be explored.
 */
export async function explore(
  scenario: Scenario,
  options: ExploreOptions = {},
): Promise<Exploration> {
  const runner = new Runner(scenario);
  const strategyName = options.strategy ?? "exhaustive";
  const strategy: Strategy =
    strategyName === "random"
      ? new RandomOrders(options.seed ?? 1)
      : new Exhaustive(options.reduce ?? true);
  const limit = options.runs ?? 100_000;
  const maxFailures = options.maxFailures ?? 1;
  const failures: Failure[] = [];
  let interleavings = 0;
  let pruned = 0;
  let steps = 0;
  runner.open();
  try {
    while (interleavings < limit && failures.length < maxFailures && strategy.next()) {
      const outcome = await runner.run(strategy);
      strategy.ended(outcome);
      steps += outcome.execution.steps.length;
      if (outcome.complete) interleavings += 1;
      else pruned += 1;
      const failure = failureOf(outcome);
      if (failure !== undefined && !failures.some((one) => sameFailure(one, failure))) {
        failures.push(failure);
      }
    }
  } finally {
    runner.close();
  }
  return {
    schemaVersion: 1,
    scenario: scenario.name,
    strategy: strategyName,
    interleavings,
    pruned,
    steps,
    exhausted: strategy.exhausted,
    failures,
  };
}

/**
 * Runs exactly the order that a failure was found in.
 *
 * @throws ScenarioError where the schedule does not fit the scenario.
 */
export async function replay(scenario: Scenario, schedule: string): Promise<Failure | undefined> {
  const runner = new Runner(scenario);
  runner.open();
  try {
    return failureOf(await runner.run(new Script(parseSchedule(schedule), true)));
  } finally {
    runner.close();
  }
}

/** The failure of one run, for people. */
export function failureOf(outcome: Outcome): Failure | undefined {
  const { failure, steps } = outcome.execution;
  if (failure === undefined) return undefined;
  return {
    kind: failure.kind,
    message: failure.message,
    actor: outcome.actors[failure.actor]?.name,
    detail: failure.detail,
    schedule: formatSchedule(outcome.moves),
    trace: steps.map(({ task }) => {
      const { actor, kind, on } = task;
      return `${letterOf(actor)} ${nameOf(actor, outcome.actors)}: ${kind} ${on}`;
    }),
  };
}

function sameFailure(a: Failure, b: Failure): boolean {
  return a.kind === b.kind && a.message === b.message;
}
