import { dispose } from "./dispose.js";

/** Why somebody stops running: what an interleaving explorer shows as a choice. */
export type WaitKind = "lock" | "fence" | "drain" | "yield" | "latency";

/** A place where another task may run. */
export interface WaitPoint {
  readonly kind: WaitKind;
  /** What is waited for: a lock's, fence's or buffer's name. */
  readonly on: string;
}

/** One parked task. The first of `wake` and `fail` counts, later calls do nothing. */
export interface Waiter {
  readonly promise: Promise<void>;
  wake(): void;
  fail(error: unknown): void;
}

/**
 * All waiting of the model goes through here, so that a test can decide every interleaving and replay it.
 * Time is virtual and moves only when the scheduler says so: there is no wall clock in the model.
 */
export interface Scheduler {
  /** Parks the running task until its waiter is woken. */
  park(point: WaitPoint): Waiter;
  /** Lets others run. Hot loops that would never yield call it between chunks. */
  yield(point: WaitPoint): Promise<void>;
  /** Runs `task` after the running step: the kernel's task work (dma-buf R8). Must not throw. */
  defer(task: () => void): void;
  /** Virtual time, in microseconds. */
  readonly nowUs: number;
  /** Calls back once virtual time reaches `whenUs`; disposing cancels. */
  at(whenUs: number, callback: () => void): Disposable;
}

interface Timer {
  readonly whenUs: number;
  readonly order: number;
  readonly callback: () => void;
}

/**
 * The plain scheduler: wakes run as microtasks, in the order they were asked for. Deterministic as JavaScript's own job queue is.
 * Time stands still until {@link advance} moves it.
 */
export class MicrotaskScheduler implements Scheduler {
  #nowUs = 0;
  #order = 0;
  #timers: Timer[] = [];

  get nowUs(): number {
    return this.#nowUs;
  }

  park(_point: WaitPoint): Waiter {
    let resolve: () => void = noop;
    let reject: (error: unknown) => void = noop;
    const promise = new Promise<void>((whenDone, whenFailed) => {
      resolve = whenDone;
      reject = whenFailed;
    });
    return { promise, wake: resolve, fail: reject };
  }

  yield(_point: WaitPoint): Promise<void> {
    return Promise.resolve();
  }

  defer(task: () => void): void {
    void Promise.resolve().then(task);
  }

  at(whenUs: number, callback: () => void): Disposable {
    const timer: Timer = { whenUs, order: this.#order++, callback };
    this.#timers.push(timer);
    return {
      [dispose]: () => {
        const index = this.#timers.indexOf(timer);
        if (index >= 0) this.#timers.splice(index, 1);
      },
    };
  }

  /** Moves virtual time and runs what became due, in order of time, then of registration. */
  advance(us: number): void {
    const end = this.#nowUs + us;
    for (;;) {
      let next: Timer | undefined;
      for (const timer of this.#timers) {
        if (timer.whenUs > end) continue;
        if (next === undefined || timer.whenUs < next.whenUs) next = timer;
      }
      if (next === undefined) break;
      this.#timers.splice(this.#timers.indexOf(next), 1);
      this.#nowUs = Math.max(this.#nowUs, next.whenUs);
      next.callback();
    }
    this.#nowUs = end;
  }
}

/** Shared by everything that is not given a scheduler of its own. */
export const defaultScheduler: Scheduler = new MicrotaskScheduler();

function noop(): void {
  // A promise executor runs at once, so this is never called.
}
