import { dispose } from "./dispose.js";
import { DmaBufError } from "./error.js";
import { defaultScheduler, type LockWatch, type Scheduler } from "./scheduler.js";
import { throwIfAborted, type WaitOptions, waitFor } from "./wait.js";

/** One stretch of holding a {@link Lock}. Releasing twice is harmless. */
export class LockGuard implements Disposable {
  readonly #lock: Lock;
  /** True for `lockNow` and `tryLock`: the holder promised not to yield. */
  readonly sync: boolean;

  /** @internal Made by {@link Lock} alone. */
  constructor(lock: Lock, sync: boolean) {
    this.#lock = lock;
    this.sync = sync;
  }

  /** False once released. */
  get held(): boolean {
    return this.#lock.holder === this;
  }

  /** Gives the lock to the next in line. */
  release(): void {
    this.#lock.handOver(this);
  }

  /** {@link release}, for `using`. */
  [dispose](): void {
    this.release();
  }
}

/** Somebody in line for a lock. */
interface Turn {
  /** Takes the lock and wakes the waiter. */
  readonly take: () => void;
  /** Age of the waiter's acquire context; undefined without one. */
  readonly stamp: number | undefined;
}

/**
 * A fair sleeping lock: first come, first served. What the kernel calls a mutex (or the write side of a rwsem);
 * {@link Reservation} is one with fences.
 */
export class Lock<G extends LockGuard = LockGuard> {
  readonly name: string;
  readonly scheduler: Scheduler;
  #holder: G | undefined;
  /** Age of the holder's acquire context. Known from the very hand-over: the holder itself may run later. */
  #stamp: number | undefined;
  #queue: Set<Turn> | undefined;
  readonly #watch: LockWatch | undefined;

  /**
   * Free.
   *
   * @param lockClass - for lock-order checks: locks of one class obey one order. The name without its digits where absent.
   */
  constructor(name: string, scheduler: Scheduler = defaultScheduler, lockClass?: string) {
    this.name = name;
    this.scheduler = scheduler;
    this.#watch = scheduler.watch?.lock(name, lockClass);
  }

  /** Who holds the lock now. */
  get holder(): G | undefined {
    return this.#holder;
  }

  /** True while somebody holds it. */
  get isLocked(): boolean {
    return this.#holder !== undefined;
  }

  /** Tasks waiting in line. */
  get waiters(): number {
    return this.#queue?.size ?? 0;
  }

  /** The guard where the lock is free, else undefined (`mutex_trylock`). Never overtakes a waiter. */
  tryLock(): G | undefined {
    if (this.#holder === undefined) {
      return this.take(true, undefined, this.#watch?.attempt(false));
    }
    this.#watch?.touch(false);
    return undefined;
  }

  /**
   * For code that does not yield before it releases.
   *
   * @throws DmaBufError EDEADLK when the running code already holds it, EAGAIN when another task holds it across an await
   *   (use {@link lock}).
   */
  lockNow(): G {
    const holder = this.#holder;
    if (holder === undefined) return this.take(true);
    this.#watch?.touch(false);
    if (holder.sync) {
      throw new DmaBufError("EDEADLK", "lock", `${this.name} is already held by the running code`);
    }
    throw new DmaBufError("EAGAIN", "lock", `${this.name} is held by another task`, {
      hint: "wait for it with lock()",
    });
  }

  /**
   * Waits in line for the lock.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT as {@link WaitOptions} say; the place in line is given up.
   */
  lock(options?: WaitOptions): Promise<G> {
    return this.lockAs(undefined, options);
  }

  /**
   * Waits for the lock, runs `work` with the proof, and releases however that ends. `work` that does not wait is held in one step: nobody
   * runs between its end and the release.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT as {@link lock}, without running `work`; what `work` throws.
   */
  async hold<T>(work: (held: G) => T | Promise<T>, options?: WaitOptions): Promise<T> {
    const guard = await this.lock(options);
    try {
      const result = work(guard);
      // Awaiting what is there already would keep the lock over a turn of the job queue.
      return result instanceof Promise ? await result : result;
    } finally {
      guard.release();
    }
  }

  /** @internal The lock passes to the next in line in the same step, so that nobody can overtake. Stale guards change nothing. */
  handOver(guard: LockGuard): void {
    if (guard !== this.#holder) return;
    this.#holder = undefined;
    this.#watch?.released();
    const queue = this.#queue;
    if (queue === undefined) return;
    for (const turn of queue) {
      queue.delete(turn);
      turn.take();
      return;
    }
  }

  /** Lowest stamp among the holder and those in line; undefined where none has an acquire context. */
  protected oldestInLine(): number | undefined {
    this.#watch?.touch(false);
    let oldest = this.#holder === undefined ? undefined : this.#stamp;
    for (const { stamp } of this.#queue ?? []) {
      if (stamp !== undefined && (oldest === undefined || stamp < oldest)) oldest = stamp;
    }
    return oldest;
  }

  /** {@link lock} on behalf of an acquire context. */
  protected async lockAs(stamp: number | undefined, options: WaitOptions | undefined): Promise<G> {
    throwIfAborted(options, "lock");
    const watch = this.#watch;
    if (this.#holder === undefined) {
      const taken = this.take(false, stamp);
      if (watch !== undefined) await watch.pause();
      return taken;
    }
    const asker = watch?.attempt(stamp === undefined);
    watch?.queued();
    let guard: G | undefined;
    await waitFor(this.scheduler, { kind: "lock", on: this.name }, options, "lock", (wake) => {
      const turn: Turn = {
        stamp,
        take: () => {
          guard = this.take(false, stamp, asker);
          wake();
        },
      };
      this.#queue ??= new Set();
      this.#queue.add(turn);
      return () => {
        watch?.touch(true);
        this.#queue?.delete(turn);
      };
    });
    if (guard === undefined) throw new Error("lock: woken without the lock");
    return guard;
  }

  /** Makes the proof that fits this lock. */
  protected makeGuard(sync: boolean): G {
    return new LockGuard(this, sync) as G;
  }

  /** Makes the guard of a lock that is free. */
  protected take(sync: boolean, stamp?: number, asker?: unknown): G {
    const guard = this.makeGuard(sync);
    this.#holder = guard;
    this.#stamp = stamp;
    const watch = this.#watch;
    if (watch !== undefined) watch.taken(asker ?? watch.attempt(stamp === undefined), sync);
    return guard;
  }

  /** @internal The running step uses what the lock guards. */
  touch(writes: boolean): void {
    this.#watch?.touch(writes);
  }
}
