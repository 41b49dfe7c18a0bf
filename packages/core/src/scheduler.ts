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
  /** The wait is over: whoever parked goes on. */
  wake(): void;
  /** The wait is given up: whoever parked gets the error. */
  fail(error: unknown): void;
}

/**
 * Something that several tasks use: a fence, or what a scenario declares. Told of each use, so that an explorer knows which steps commute.
 */
export interface ObjectWatch {
  /** The running step reads it, or changes it. */
  touch(writes: boolean): void;
}

/** One lock as an explorer sees it. */
export interface LockWatch extends ObjectWatch {
  /**
   * The running step asks for the lock. The result names the asker in {@link taken}. `ordered` is false where no cycle of waits can come
   * of it: a try-lock, or an acquire context that backs off.
   */
  attempt(ordered: boolean): unknown;
  /** The asker waits in line; its {@link Scheduler.park} comes next. */
  queued(): void;
  /** The lock is that asker's now. `sync` for one that promised not to yield; after a hand-over another task runs. */
  taken(asker: unknown, sync: boolean): void;
  /** The holder lets go. */
  released(): void;
  /** A free lock was taken by one who may wait: others may run now, and find it held. */
  pause(): Promise<void>;
}

/** What a scheduler that explores interleavings wants to hear of. */
export interface SchedulerWatch {
  /** A new lock. Locks of one class are taken in one order with regard to other classes, as in lockdep. */
  lock(name: string, lockClass: string | undefined): LockWatch;
  /** A new object. */
  object(name: string): ObjectWatch;
  /** The running step changes something shared that goes by a name; with `writes` false it only looks at it. */
  touch(name: string, writes?: boolean): void;
  /** The next number of a kind of thing, from 1: an explorer makes a scheduler for each run, and counts better than a table of them all. */
  ordinal?(kind: string): number;
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
  /**
   * Asked once by each lock, fence and buffer made on this scheduler, and by packages for what their tasks look at without a lock: what nobody
   * tells of, an explorer takes for independent. Absent from all but explorers.
   */
  readonly watch?: SchedulerWatch | undefined;
}

interface Timer {
  readonly whenUs: number;
  readonly order: number;
  readonly callback: () => void;
  cancelled: boolean;
}

/**
 * The plain scheduler: wakes run as microtasks, in the order they were asked for. Deterministic as JavaScript's own job queue is.
 * Time stands still until {@link advance} moves it.
 */
export class MicrotaskScheduler implements Scheduler {
  #nowUs = 0;
  #order = 0;
  /** A binary heap: the next timer first. */
  readonly #timers: Timer[] = [];

  /** Virtual time, in microseconds: what {@link advance} made it. */
  get nowUs(): number {
    return this.#nowUs;
  }

  /** As {@link Scheduler.park}. */
  park(_point: WaitPoint): Waiter {
    let resolve: () => void = noop;
    let reject: (error: unknown) => void = noop;
    const promise = new Promise<void>((whenDone, whenFailed) => {
      resolve = whenDone;
      reject = whenFailed;
    });
    return { promise, wake: resolve, fail: reject };
  }

  /** As {@link Scheduler.yield}: one turn of the job queue. */
  yield(_point: WaitPoint): Promise<void> {
    return Promise.resolve();
  }

  /** As {@link Scheduler.defer}: a microtask. */
  defer(task: () => void): void {
    void Promise.resolve().then(task);
  }

  /** As {@link Scheduler.at}; a time already reached runs at the next {@link advance}. */
  at(whenUs: number, callback: () => void): Disposable {
    const timer: Timer = { whenUs, order: this.#order++, callback, cancelled: false };
    this.#push(timer);
    return {
      [dispose]: () => {
        timer.cancelled = true;
        // Far timers that were given up would otherwise stay until their time comes.
        while (this.#timers[0]?.cancelled === true) this.#pop();
      },
    };
  }

  /**
   * Moves virtual time and runs what became due, in order of time, then of registration. Tasks that are woken run after it returns.
   *
   * @throws RangeError for a time that is negative or no number.
   */
  advance(us: number): void {
    if (!(us >= 0)) throw new RangeError(`advance by ${String(us)} microseconds`);
    const end = this.#nowUs + us;
    for (let next = this.#timers[0]; next !== undefined && next.whenUs <= end; ) {
      this.#pop();
      if (!next.cancelled) {
        this.#nowUs = Math.max(this.#nowUs, next.whenUs);
        next.callback();
      }
      next = this.#timers[0];
    }
    this.#nowUs = Math.max(this.#nowUs, end);
  }

  #push(timer: Timer): void {
    const heap = this.#timers;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || !isBefore(timer, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#timers;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      const left = heap[below];
      if (left === undefined) break;
      const right = heap[below + 1];
      const smaller = right !== undefined && isBefore(right, left) ? right : left;
      if (smaller === right) below += 1;
      if (!isBefore(smaller, last)) break;
      heap[at] = smaller;
      at = below;
    }
    heap[at] = last;
  }
}

/** Shared by everything that is not given a scheduler of its own. */
export const defaultScheduler: Scheduler = new MicrotaskScheduler();

function isBefore(a: Timer, b: Timer): boolean {
  return a.whenUs < b.whenUs || (a.whenUs === b.whenUs && a.order < b.order);
}

function noop(): void {
  // A promise executor runs at once, so this is never called.
}
