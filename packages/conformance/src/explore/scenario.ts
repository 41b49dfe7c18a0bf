import type { EventSink, Scheduler } from "@peerbar/core";
import type { Sanitizer } from "../sanitize/sanitizer.js";

/** Something actors wait for: set once, seen by all. For what a plain promise between actors would do, which no scheduler sees. */
export interface Flag {
  readonly isSet: boolean;
  /** Lets all who wait go on; later waits return at once. */
  set(): void;
  /** Waits until the flag is set. */
  wait(): Promise<void>;
}

/** What a scenario gets to build one run with. */
export interface Stage {
  /** To be given to everything the scenario makes. */
  readonly scheduler: Scheduler;
  /** Reports become failures; what has leaked is asked for at the end. Made at first use. */
  readonly sanitizer: Sanitizer;
  /** Events of the run; kept for the trace when it is replayed, else dropped. Costs nothing unless given to something. */
  readonly events: EventSink;
  /** Adds an actor, in setup alone. What it throws is a failure. */
  actor(name: string, run: () => unknown): void;
  /** Runs after all actors have ended, in order; what it throws is a failure. */
  check(run: () => unknown): void;
  /** Reports a failure without throwing. The run ends with this step. */
  fail(message: string, detail?: string): void;
  /** Lets others run here: a place where the real code could be preempted. */
  pause(where?: string): Promise<void>;
  /** This step uses something shared that goes by that name and is no lock, fence or buffer. */
  touch(name: string, writes?: boolean): void;
  /** The object, with every read and write of its properties told as {@link touch}. */
  shared<T extends object>(name: string, object: T): T;
  /** A new flag, not set. */
  flag(name: string): Flag;
}

/**
 * Actors written as ordinary async functions against core, run in every order there is. `build` runs once a run and makes everything afresh;
 * it may be async. What actors share must be locks, fences and buffers of core, or be told with `touch` or `shared`: orders that differ in
 * nothing told are run once.
 */
export interface Scenario {
  readonly name: string;
  /** Makes everything afresh for one order; runs once for each. */
  readonly build: (stage: Stage) => unknown;
  /** Steps after which a run counts as livelocked; 10 000 by default. */
  readonly maxSteps?: number | undefined;
}

/** Names a scenario. */
export function scenario(
  name: string,
  build: (stage: Stage) => unknown,
  options: { readonly maxSteps?: number } = {},
): Scenario {
  return { name, build, maxSteps: options.maxSteps };
}
