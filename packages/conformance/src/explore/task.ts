import type { Waiter, WaitKind } from "@peerbar/core";
import type { HeldLock, WatchedLock } from "./watched.js";

/** Why a task stands where it stands: a wait of the model, or one of the explorer's own. */
export type TaskKind = WaitKind | "start" | "locked" | "pause" | "defer" | "time";

/** Who is told that a task can go on. */
export interface TaskOwner {
  woken(task: Task): void;
}

/**
 * Something that stands still until it is chosen: an actor that has not begun, a parked wait, deferred work, a timer. Choosing it runs one
 * step: everything up to the point where all it started stands still again.
 */
export class Task implements Waiter {
  /** The same in every run, see `Names`. */
  readonly number: number;
  /** Index of the actor in whose step it was made. */
  readonly actor: number;
  readonly kind: TaskKind;
  readonly on: string;
  /** Its place among the tasks of the run. */
  readonly order: number;
  /** Step that made it, -1 for the setup. */
  readonly madeBy: number;
  /** Step that woke it; -1 where it needed no waking. */
  wokenBy = -1;
  ready = false;
  /** Ran, or was cancelled. */
  over = false;
  /** Children made so far: tasks and objects. */
  children = 0;
  /** Locks its step begins with. */
  held: HeldLock | undefined;
  /** The lock it is in line for. */
  lock: WatchedLock | undefined;
  /** For `time`: when, in virtual microseconds. */
  whenUs = 0;
  readonly #owner: TaskOwner;
  #resume: () => void = nothing;
  #reject: (error: unknown) => void = nothing;
  #promise: Promise<void> | undefined;
  /** Will go on with an error. */
  failed = false;
  #error: unknown;

  constructor(
    owner: TaskOwner,
    number: number,
    actor: number,
    kind: TaskKind,
    on: string,
    order: number,
    madeBy: number,
    run?: () => void,
  ) {
    this.#owner = owner;
    this.number = number;
    this.actor = actor;
    this.kind = kind;
    this.on = on;
    this.order = order;
    this.madeBy = madeBy;
    if (run !== undefined) this.#resume = run;
  }

  /** For waits: settles when the woken task is chosen. */
  get promise(): Promise<void> {
    this.#promise ??= new Promise<void>((resolve, reject) => {
      this.#resume = resolve;
      this.#reject = reject;
      // Asked for after it had run.
      if (this.over) this.run();
    });
    return this.#promise;
  }

  /** Makes it ready; the first of wake and fail counts. */
  wake(): void {
    this.#owner.woken(this);
  }

  /** {@link wake} with an error for the waiter. */
  fail(error: unknown): void {
    if (!this.ready && !this.over) {
      this.failed = true;
      this.#error = error;
    }
    this.#owner.woken(this);
  }

  /** Runs its step, up to the first promise job. */
  run(): void {
    this.over = true;
    if (this.failed) this.#reject(this.#error);
    else this.#resume();
  }
}

function nothing(): void {
  // Nobody asked for the promise: nobody waits.
}
