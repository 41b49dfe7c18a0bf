/** What an exploration can find. */
export type FailureKind =
  /** An actor threw or rejected: an assertion of its own, or an error it did not expect. */
  | "actor-failed"
  /** What was registered with `check` threw, after all actors had ended. */
  | "check-failed"
  /** `fail` was called: the scenario's own reports, and those of its sanitizer. */
  | "reported"
  /** Tasks wait for each other's locks in a circle. */
  | "deadlock"
  /** Somebody waits and nobody is left to wake them. */
  | "lost-wakeup"
  /** An actor ended with a lock held. */
  | "lock-leaked"
  /** An actor waits for a promise that no scheduler knows: a timer of the host, input, or one that nobody settles. */
  | "foreign-wait"
  /** More steps than the bound allows. */
  | "livelock"
  /** A promise rejected and nobody looked. */
  | "unhandled-rejection"
  /** Two lock classes are taken in both orders, deadlock or not. */
  | "lock-order"
  /** After an exhausted search an order came to what none before had: steps were taken to commute that do not. Seen by comparing orders: the
   * schedule shows that order, and its replay alone finds nothing. */
  | "undeclared";

/** One thing found, and how to see it again. JSON as it stands. */
export interface Failure {
  readonly kind: FailureKind;
  /** One line. */
  readonly message: string;
  /** Whose step showed it; null for what concerns all. */
  readonly actor: string | null;
  /** More lines: the waits of all, a stack, a sanitizer's history. */
  readonly detail: string | null;
  /** Give it to `replay`. Empty is the default order. */
  readonly schedule: string;
  /** For `lock-order`: the schedule that showed the other order, where it is another. */
  readonly otherSchedule: string | null;
  /** Interruptions of an actor that could have gone on. */
  readonly preemptions: number;
  /** Steps that ran, one a line: who, and from where. */
  readonly trace: readonly string[];
}

/** A scenario that cannot be explored: it is no scenario, or does not do the same thing twice. Not a finding about the model. */
export class ScenarioError extends Error {
  override readonly name = "ScenarioError";
}

/** The same decisions led elsewhere. */
export function notTwice(once?: string): ScenarioError {
  const seen = once === undefined ? "" : `; "${once}" was found, and not again in the same order`;
  return new ScenarioError(
    `the scenario does not do the same thing twice: something other than the order of steps decides what it does${seen}`,
  );
}
