import type { RunFailure } from "./execution.js";
import { type Outcome, Runner } from "./runner.js";
import type { Scenario } from "./scenario.js";
import type { Move } from "./schedule.js";
import { Script } from "./script.js";

/** Runs, and steps of them, spent on making one failure smaller. */
const ATTEMPTS = 400;
const STEPS = 400_000;

/**
 * The same failure with fewer decisions: stretches of them are left out, or left to the default order, as long as the failure stays. Undefined where it does not show again by itself: a lock order that two runs contradict needs both.
 */
export async function shrink(scenario: Scenario, outcome: Outcome): Promise<Outcome | undefined> {
  return again(scenario, outcome, (attempt, first) => smallest(attempt, first));
}

/** The same run once more, in which errors have stacks. Undefined as in {@link shrink}. */
export async function repeat(scenario: Scenario, outcome: Outcome): Promise<Outcome | undefined> {
  return again(scenario, outcome, (_attempt, first) => Promise.resolve(first));
}

/** Runs with those decisions, the default order where one is left open; undefined where the failure is another, or none. */
type Attempt = (moves: readonly (Move | undefined)[]) => Promise<Outcome | undefined>;

async function again(
  scenario: Scenario,
  outcome: Outcome,
  goOn: (attempt: Attempt, first: Outcome) => Promise<Outcome>,
): Promise<Outcome | undefined> {
  const wanted = outcome.execution.failure;
  if (wanted === undefined) return undefined;
  const runner = new Runner(scenario);
  const attempt: Attempt = async (moves) => {
    runner.order.clear();
    const tried = await runner.run(new Script(moves, false));
    return isSame(tried.execution.failure, wanted) ? tried : undefined;
  };
  runner.open();
  try {
    const first = await attempt(outcome.moves);
    return first === undefined ? undefined : await goOn(attempt, first);
  } finally {
    runner.close();
  }
}

async function smallest(attempt: Attempt, first: Outcome): Promise<Outcome> {
  let attempts = 1;
  let steps = 0;
  let best = first;
  const improve = async (moves: readonly (Move | undefined)[]): Promise<boolean> => {
    if (attempts >= ATTEMPTS || steps >= STEPS) return false;
    attempts += 1;
    // One that fails otherwise is about as long.
    steps += best.execution.steps.length;
    const tried = await attempt(moves);
    if (tried === undefined || !isSmaller(tried, best)) return false;
    best = tried;
    return true;
  };
  // Whole actors first: one that has no part in it runs when the others are done.
  for (const actor of new Set(best.moves.map((move) => move.actor))) {
    await improve(best.moves.filter((move) => move.actor !== actor));
  }
  for (let length = best.moves.length; length >= 1; length >>= 1) {
    for (let at = best.moves.length - length; at >= 0; ) {
      const inside = (i: number): boolean => i >= at && i < at + length;
      const without = best.moves.filter((_, i) => !inside(i));
      if (!(await improve(without))) {
        await improve(best.moves.map((move, i) => (inside(i) ? undefined : move)));
      }
      at = Math.min(at, best.moves.length) - length;
    }
  }
  return best;
}

function isSame(failure: RunFailure | undefined, wanted: RunFailure): boolean {
  return failure?.kind === wanted.kind && plain(failure.message) === plain(wanted.message);
}

/** Counters and addresses may differ from one order to the next. */
function plain(message: string): string {
  return message.replace(/(?:0x)?[0-9a-f]*\d[0-9a-f]*/g, "#");
}

/** Fewer interruptions first, then fewer decisions. */
function isSmaller(a: Outcome, b: Outcome): boolean {
  if (a.preemptions !== b.preemptions) return a.preemptions < b.preemptions;
  return a.moves.length < b.moves.length;
}
