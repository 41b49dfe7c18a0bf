import { ProtocolViolation } from "./error.js";
import type { EventSink } from "./event.js";
import { type Fence, type FenceUsage, usageRank } from "./fence.js";
import { Lock, LockGuard } from "./lock.js";
import { defaultScheduler, type Scheduler } from "./scheduler.js";
import { throwIfAborted, type WaitOptions } from "./wait.js";

/**
 * Proof that a buffer's reservation is held: the argument of every operation that the kernel guards with `dma_resv_assert_held`.
 * Only {@link Reservation} makes one; it dies with `release`.
 */
export class Held extends LockGuard {
  readonly reservation: Reservation;

  /** @internal */
  constructor(reservation: Reservation, sync: boolean) {
    super(reservation, sync);
    this.reservation = reservation;
  }
}

export interface ReservationOptions {
  readonly name?: string;
  readonly scheduler?: Scheduler;
  readonly events?: EventSink | undefined;
}

interface FenceEntry {
  fence: Fence;
  rank: number;
}

let nextId = 1;

/**
 * A reservation object: the lock of one or more buffers, and the fences of the work in flight on them (`struct dma_resv`).
 * Several buffers may share one.
 */
export class Reservation extends Lock {
  /** Order of multi-lock acquisition ({@link lockAll}). */
  readonly id: number;
  readonly #events: EventSink | undefined;
  #fences: FenceEntry[] = [];
  #reserved = 0;

  constructor(options: ReservationOptions = {}) {
    const id = nextId++;
    super(options.name ?? `resv${String(id)}`, options.scheduler ?? defaultScheduler);
    this.id = id;
    this.#events = options.events;
  }

  override lockNow(): Held {
    return super.lockNow() as Held;
  }

  override tryLock(): Held | undefined {
    return super.tryLock() as Held | undefined;
  }

  override lock(options?: WaitOptions): Promise<Held> {
    return super.lock(options) as Promise<Held>;
  }

  /**
   * Locks several reservations without deadlock: always in order of `id`, so no cycle can form. Repeated ones are locked once.
   * The kernel gets the same with ww_mutex back-off (dma-buf R40); order needs no retry.
   */
  static async lockAll(
    reservations: readonly Reservation[],
    options?: WaitOptions,
  ): Promise<readonly Held[]> {
    const ordered = [...new Set(reservations)].sort((a, b) => a.id - b.id);
    const held: Held[] = [];
    try {
      for (const reservation of ordered) held.push(await reservation.lock(options));
    } catch (error) {
      for (const lock of held.reverse()) lock.release();
      throw error;
    }
    return held;
  }

  /**
   * The kernel's `dma_resv_assert_held`, as a check of the proof itself (dma-buf R16).
   *
   * @throws ProtocolViolation for a proof that is missing, of another reservation, or released.
   */
  assertHeld(held: Held, operation: string): void {
    if (held === this.holder) return;
    const why =
      (held as Held | undefined) === undefined
        ? "the reservation is not held"
        : held.reservation !== this
          ? `the proof is of ${held.reservation.name}, not of ${this.name}`
          : "the proof was released";
    throw new ProtocolViolation("dma-buf R16", operation, why, {
      hint: `lock the buffer's own reservation and keep it for the call`,
    });
  }

  /** Makes room for `count` fences in this lock section (dma-buf R36). */
  reserveFences(held: Held, count: number): void {
    this.assertHeld(held, "reservation.reserveFences");
    this.#reserved = Math.max(this.#reserved, count);
  }

  /**
   * Adds a fence. An entry of the same context with the same or a wider usage and an earlier (or the same) fence, or any signalled
   * entry, is replaced in place (dma-buf R37).
   *
   * @throws ProtocolViolation without a reserved slot, or for a container fence (dma-buf R36).
   */
  addFence(held: Held, fence: Fence, usage: FenceUsage): void {
    this.assertHeld(held, "reservation.addFence");
    if (fence.parts !== undefined) {
      throw new ProtocolViolation("dma-buf R36", "reservation.addFence", "a container fence");
    }
    if (this.#reserved === 0) {
      throw new ProtocolViolation("dma-buf R36", "reservation.addFence", "no slot was reserved", {
        hint: "call reserveFences(held, n) in the same lock section",
      });
    }
    this.#reserved -= 1;
    const rank = usageRank(usage);
    const replaced = this.#fences.find(
      (entry) =>
        entry.fence.signaled ||
        (entry.fence.context === fence.context &&
          entry.rank >= rank &&
          fence.seqno >= entry.fence.seqno),
    );
    if (replaced === undefined) this.#fences.push({ fence, rank });
    else {
      replaced.fence = fence;
      replaced.rank = rank;
    }
    this.#events?.emit({ type: "fence", lock: this.name, fence: fence.name, usage });
  }

  /** Fences not yet signalled whose usage is `usage` or before it (dma-buf R34). */
  pending(usage: FenceUsage): readonly Fence[] {
    const limit = usageRank(usage);
    return this.#fences
      .filter((entry) => entry.rank <= limit && !entry.fence.signaled)
      .map((entry) => entry.fence);
  }

  /** True when nothing of that usage is in flight: a wait with timeout 0 (dma-buf R38). */
  isSignaled(usage: FenceUsage): boolean {
    const limit = usageRank(usage);
    return this.#fences.every((entry) => entry.rank > limit || entry.fence.signaled);
  }

  /**
   * Waits for every fence of `usage` and before it, those that are added meanwhile included. The lock need not be held (dma-buf R38).
   *
   * @throws DmaBufError EINTR, ETIMEDOUT as the options say.
   */
  async wait(usage: FenceUsage, options?: WaitOptions): Promise<void> {
    throwIfAborted(options, "reservation.wait");
    for (;;) {
      const next = this.pending(usage)[0];
      if (next === undefined) return;
      await next.wait(options);
    }
  }

  /** @internal */
  override handOver(): void {
    this.#reserved = 0;
    this.#events?.emit({ type: "unlock", lock: this.name });
    super.handOver();
  }

  protected override makeGuard(sync: boolean): Held {
    this.#events?.emit({ type: "lock", lock: this.name });
    return new Held(this, sync);
  }
}
