import { dispose } from "./dispose.js";
import { DmaBufError, isDmaBufError } from "./error.js";
import { nextOrdinal } from "./ordinal.js";
import type { Held, Reservation } from "./reservation.js";
import { defaultScheduler, type Scheduler } from "./scheduler.js";
import { throwIfAborted, type WaitOptions } from "./wait.js";

/**
 * Locks reservations that are found one by one, without deadlock: `ww_acquire_ctx` with the wait-die rule that `dma_resv` uses (dma-buf R40).
 * The older context waits; the younger, when it already holds something the older may want, gets EDEADLK, backs off and starts again.
 * {@link lockAll} does all of that; {@link lock} and {@link backOff} are its parts.
 */
export class AcquireContext implements Disposable {
  /** Age: a smaller one is older and wins. Kept through {@link backOff}, so that nobody starves. */
  readonly stamp: number;
  readonly #held = new Map<Reservation, Held>();

  /** Younger than every context made before it: the older one wins where both want a lock (dma-buf R40). */
  constructor(scheduler: Scheduler = defaultScheduler) {
    scheduler.watch?.touch("ww");
    this.stamp = nextOrdinal(scheduler, "ww");
  }

  /** Proofs held now, in the order they were taken. One that was released by itself is none. */
  get held(): readonly Held[] {
    return [...this.#held.values()].filter((proof) => proof.held);
  }

  /**
   * Takes one more reservation.
   *
   * @throws DmaBufError EALREADY where this context holds it; EDEADLK where waiting could close a cycle: {@link backOff} then. A context
   *   that holds nothing never gets EDEADLK.
   */
  async lock(reservation: Reservation, options?: WaitOptions): Promise<Held> {
    throwIfAborted(options, "ww.lock");
    if (this.#holds(reservation)) {
      throw new DmaBufError("EALREADY", "ww.lock", `${reservation.name} is held by this context`, {
        rule: "dma-buf R40",
      });
    }
    if (this.#holdsAny() && this.#mustDie(reservation)) {
      throw new DmaBufError(
        "EDEADLK",
        "ww.lock",
        `an older context has or awaits ${reservation.name}`,
        {
          rule: "dma-buf R40",
          hint: "release all with backOff(reservation), then lock the others again",
        },
      );
    }
    const held = await reservation.lockFor(this.stamp, options);
    // A stale proof of the same reservation would keep its old place in the order.
    this.#held.delete(reservation);
    this.#held.set(reservation, held);
    return held;
  }

  /** Releases everything, then waits for the reservation that was in the way (`ww_mutex_lock_slow`). */
  async backOff(contended: Reservation, options?: WaitOptions): Promise<Held> {
    this.release();
    return this.lock(contended, options);
  }

  /**
   * Takes all of them, backing off as often as needed.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT: nothing stays locked.
   */
  async lockAll(reservations: readonly Reservation[], options?: WaitOptions): Promise<void> {
    const wanted = [...new Set(reservations)];
    try {
      for (let i = 0; i < wanted.length; ) {
        const reservation = wanted[i];
        i += 1;
        if (reservation === undefined || this.#holds(reservation)) continue;
        try {
          await this.lock(reservation, options);
        } catch (error) {
          if (!isDmaBufError(error) || error.code !== "EDEADLK") throw error;
          await this.backOff(reservation, options);
          i = 0;
        }
      }
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Releases everything; the context may be used again. */
  release(): void {
    for (const held of [...this.#held.values()].reverse()) held.release();
    this.#held.clear();
  }

  /** {@link release}, for `using`. */
  [dispose](): void {
    this.release();
  }

  #holds(reservation: Reservation): boolean {
    return this.#held.get(reservation)?.held === true;
  }

  #holdsAny(): boolean {
    for (const proof of this.#held.values()) if (proof.held) return true;
    return false;
  }

  /** Wait-die: the younger one must not wait for the older, neither for the holder nor for those in line before it. */
  #mustDie(reservation: Reservation): boolean {
    const oldest = reservation.oldestStamp;
    return oldest !== undefined && oldest < this.stamp;
  }
}
