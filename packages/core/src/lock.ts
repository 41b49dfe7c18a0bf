import { dispose } from "./dispose.js";
import { DmaBufError } from "./error.js";
import { defaultScheduler, type Scheduler } from "./scheduler.js";
import { throwIfAborted, type WaitOptions, waitFor } from "./wait.js";

/** One stretch of holding a {@link Lock}. Releasing twice is harmless. */
export class LockGuard implements Disposable {
  readonly #lock: Lock;
  /** True for `lockNow`: the holder promised not to yield. */
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

  release(): void {
    if (this.#lock.holder === this) this.#lock.handOver();
  }

  [dispose](): void {
    this.release();
  }
}

/**
 * A fair sleeping lock: first come, first served. What the kernel calls a mutex (or the write side of a rwsem);
 * {@link Reservation} is one with fences.
 */
export class Lock {
  readonly name: string;
  readonly scheduler: Scheduler;
  #holder: LockGuard | undefined;
  #queue: (() => void)[] | undefined;

  constructor(name: string, scheduler: Scheduler = defaultScheduler) {
    this.name = name;
    this.scheduler = scheduler;
  }

  /** Who holds the lock now. */
  get holder(): LockGuard | undefined {
    return this.#holder;
  }

  get isLocked(): boolean {
    return this.#holder !== undefined;
  }

  /** Tasks waiting in line. */
  get waiters(): number {
    return this.#queue?.length ?? 0;
  }

  /** The guard where the lock is free, else undefined (`mutex_trylock`). Never overtakes a waiter. */
  tryLock(): LockGuard | undefined {
    return this.#holder === undefined ? this.take(true) : undefined;
  }

  /**
   * For code that does not yield before it releases.
   *
   * @throws DmaBufError EDEADLK when the running code already holds it, EAGAIN when another task holds it across an await
   *   (use {@link lock}).
   */
  lockNow(): LockGuard {
    const holder = this.#holder;
    if (holder === undefined) return this.take(true);
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
  async lock(options?: WaitOptions): Promise<LockGuard> {
    throwIfAborted(options, "lock");
    if (this.#holder === undefined) return this.take(false);
    let guard: LockGuard | undefined;
    await waitFor(this.scheduler, { kind: "lock", on: this.name }, options, "lock", (wake) => {
      const turn = (): void => {
        guard = this.take(false);
        wake();
      };
      const queue = (this.#queue ??= []);
      queue.push(turn);
      return () => {
        const index = queue.indexOf(turn);
        if (index >= 0) queue.splice(index, 1);
        // The turn had come but the task had not run yet when it gave up: pass the lock on.
        else guard?.release();
      };
    });
    if (guard === undefined) throw new Error("lock: woken without the lock");
    return guard;
  }

  /** @internal */
  handOver(): void {
    this.#holder = undefined;
    this.#queue?.shift()?.();
  }

  /** Makes the proof that fits this lock. */
  protected makeGuard(sync: boolean): LockGuard {
    return new LockGuard(this, sync);
  }

  protected take(sync: boolean): LockGuard {
    const guard = this.makeGuard(sync);
    this.#holder = guard;
    return guard;
  }
}
