import { DmaBufError, isDmaBufError, ProtocolViolation } from "./error.js";
import type { EventSink } from "./event.js";
import { type Fence, type FenceUsage, fenceUsages, usageRank, waitForFence } from "./fence.js";
import { FenceArray } from "./fence-container.js";
import { Lock, LockGuard } from "./lock.js";
import { nextOrdinal } from "./ordinal.js";
import { defaultScheduler, type Scheduler } from "./scheduler.js";
import { throwIfAborted, type WaitOptions } from "./wait.js";

/**
 * Proof that a buffer's reservation is held: the argument of every operation that the kernel guards with `dma_resv_assert_held`.
 * Only {@link Reservation} makes one that counts; it dies with `release`.
 */
export class Held extends LockGuard {
  readonly reservation: Reservation;

  /** @internal */
  constructor(reservation: Reservation, sync: boolean) {
    super(reservation, sync);
    this.reservation = reservation;
  }
}

/** What a {@link Reservation} may be given. */
export interface ReservationOptions {
  /** For events and waits; numbered by its scheduler where absent. */
  readonly name?: string;
  readonly scheduler?: Scheduler;
  readonly events?: EventSink | undefined;
}

interface FenceEntry {
  fence: Fence;
  rank: number;
}

/** One fence of a reservation, for listings. */
export interface FenceInfo {
  readonly fence: Fence;
  readonly usage: FenceUsage;
}

let nextId = 1;

/** All reservations are of one lock class, as in the kernel (`reservation_ww_class`). */
const LOCK_CLASS = "reservation";

/**
 * A reservation object: the lock of one or more buffers, and the fences of the work in flight on them (`struct dma_resv`).
 * Several buffers may share one.
 */
export class Reservation extends Lock<Held> {
  /** Order of multi-lock acquisition ({@link lockAll}); unique, rising in order of making. */
  readonly id: number;
  readonly #events: EventSink | undefined;
  readonly #fences: FenceEntry[] = [];
  /** Slots left of this lock section; undefined before it reserved any. */
  #slots: number | undefined;
  #notifying = 0;

  /** Not locked and without fences. The name, where none is given, counts the scheduler's reservations. */
  constructor(options: ReservationOptions = {}) {
    const scheduler = options.scheduler ?? defaultScheduler;
    super(options.name ?? `resv${String(nextOrdinal(scheduler, "resv"))}`, scheduler, LOCK_CLASS);
    this.id = nextId++;
    this.#events = options.events;
  }

  /**
   * @throws DmaBufError EDEADLK when the running code already holds it, from an invalidate callback included (dma-buf R17); EAGAIN when
   *   another task holds it across an await.
   */
  override lockNow(): Held {
    if (this.#notifying > 0) {
      throw new ProtocolViolation(
        "dma-buf R17",
        "lock",
        `${this.name} is held by the exporter that calls invalidateMappings`,
        { code: "EDEADLK", hint: "use the proof the callback was given" },
      );
    }
    return super.lockNow();
  }

  /**
   * Locks several reservations without deadlock: always in order of `id`, so no cycle can form. Repeated ones are locked once.
   * The kernel gets the same with ww_mutex back-off (dma-buf R40); order needs no retry, but all must be known beforehand. Where they
   * are found one by one use an {@link AcquireContext}. Do not mix: a task that holds one lock must not call this for others.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT: none stays locked.
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

  /** @internal Use {@link AcquireContext.lock}. */
  lockFor(stamp: number, options: WaitOptions | undefined): Promise<Held> {
    return this.lockAs(stamp, options);
  }

  /** @internal Oldest acquire context that holds it or is in line. */
  get oldestStamp(): number | undefined {
    return this.oldestInLine();
  }

  /** True while an exporter tells this reservation's importers to let go: they run inside its lock (dma-buf R17). */
  get notifying(): boolean {
    return this.#notifying > 0;
  }

  /** @internal Runs the invalidate callbacks of one buffer. */
  notify(callbacks: () => void): void {
    this.#notifying += 1;
    try {
      callbacks();
    } finally {
      this.#notifying -= 1;
    }
  }

  /**
   * The kernel's `dma_resv_assert_held`, as a check of the proof itself (dma-buf R16).
   *
   * @throws ProtocolViolation for a proof that is missing, of another reservation, or released.
   */
  assertHeld(held: Held, operation: string): void {
    this.touch(true);
    // A missing proof is no proof of a lock that nobody holds either.
    if (this.isLocked && held === this.holder) return;
    throw new ProtocolViolation("dma-buf R16", operation, this.#whyNotHeld(held), {
      hint: "lock the buffer's own reservation and keep it for the call",
    });
  }

  /**
   * Makes room for `count` fences in this lock section (dma-buf R36). Asking again does not add up: there is room for the larger
   * number of further fences.
   *
   * @throws DmaBufError EINVAL unless `count` is a whole number above 0.
   */
  reserveFences(held: Held, count: number): void {
    this.assertHeld(held, "reservation.reserveFences");
    if (!Number.isSafeInteger(count) || count < 1) {
      throw new DmaBufError("EINVAL", "reservation.reserveFences", `${String(count)} fences`, {
        rule: "dma-buf R36",
      });
    }
    this.#slots = Math.max(this.#slots ?? 0, count);
  }

  /**
   * Adds a fence. An entry of the same context with the same or a wider usage and an earlier (or the same) fence, or any signalled
   * entry, is replaced in place and costs no slot (dma-buf R37).
   *
   * @throws ProtocolViolation without a reserved slot, or for a container fence (dma-buf R36); DmaBufError EINVAL for a usage that is none.
   */
  addFence(held: Held, fence: Fence, usage: FenceUsage): void {
    this.assertHeld(held, "reservation.addFence");
    const rank = usageRank(usage);
    if (rank < 0) {
      throw new DmaBufError("EINVAL", "reservation.addFence", `no usage ${usage}`);
    }
    if (fence.parts !== undefined) {
      throw new ProtocolViolation("dma-buf R36", "reservation.addFence", "a container fence", {
        hint: "add the plain fences inside: unwrapFences()",
      });
    }
    const replaced = this.#replaceable(fence, rank);
    if (this.#slots === undefined || (replaced === undefined && this.#slots === 0)) {
      throw new ProtocolViolation("dma-buf R36", "reservation.addFence", "no slot was reserved", {
        hint: "call reserveFences(held, n) in the same lock section",
      });
    }
    if (replaced === undefined) {
      this.#slots -= 1;
      this.#fences.push({ fence, rank });
    } else {
      replaced.fence = fence;
      replaced.rank = rank;
    }
    this.#announce(fence, usage);
  }

  /** Fences not yet signalled whose usage is `usage` or before it (dma-buf R34). */
  pending(usage: FenceUsage): readonly Fence[] {
    this.touch(false);
    const limit = usageRank(usage);
    return this.#fences
      .filter((entry) => entry.rank <= limit && !entry.fence.signaled)
      .map((entry) => entry.fence);
  }

  /** Every fence kept here, signalled ones that nothing replaced yet included, in the order they are kept. */
  get fences(): readonly FenceInfo[] {
    this.touch(false);
    return this.#fences.map(({ fence, rank }) => ({
      fence,
      usage: fenceUsages[rank] ?? "bookkeep",
    }));
  }

  /** The first fence of `usage` or before it that is not signalled. */
  firstPending(usage: FenceUsage): Fence | undefined {
    this.touch(false);
    const limit = usageRank(usage);
    for (const { fence, rank } of this.#fences) {
      if (rank <= limit && !fence.signaled) return fence;
    }
    return undefined;
  }

  /** True when nothing of that usage is in flight: a wait with timeout 0 (dma-buf R38). */
  isSignaled(usage: FenceUsage): boolean {
    return this.firstPending(usage) === undefined;
  }

  /**
   * What is in flight for `usage`, as one fence: undefined for nothing, the fence itself for one, an array for more (dma-buf R39).
   */
  singleton(usage: FenceUsage): Fence | undefined {
    const pending = this.pending(usage);
    return pending.length > 1 ? new FenceArray(pending, this.scheduler) : pending[0];
  }

  /**
   * Waits for every fence of `usage` and before it, those that are added meanwhile included. The lock need not be held (dma-buf R38).
   * A deadline already reached polls.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT as the options say.
   */
  async wait(usage: FenceUsage, options?: WaitOptions): Promise<void> {
    throwIfAborted(options, "reservation.wait");
    for (;;) {
      const next = this.firstPending(usage);
      if (next === undefined) return;
      await waitForFence(this.scheduler, next, options);
    }
  }

  /**
   * `dma_resv_wait_timeout`: {@link wait} that answers in the kernel's numbers (dma-buf R38).
   *
   * @param timeoutUs - Virtual microseconds; 0 polls.
   * @returns What is left of the timeout, at least 1; 0 when it ran out.
   * @throws DmaBufError EINTR where `signal` aborts; EINVAL for a timeout below 0.
   */
  async waitTimeout(
    usage: FenceUsage,
    timeoutUs: number,
    options?: Pick<WaitOptions, "signal">,
  ): Promise<number> {
    if (!(timeoutUs >= 0)) {
      throw new DmaBufError(
        "EINVAL",
        "reservation.waitTimeout",
        `a timeout of ${String(timeoutUs)}`,
      );
    }
    const deadlineUs = this.scheduler.nowUs + timeoutUs;
    try {
      await this.wait(usage, { ...options, deadlineUs });
    } catch (error) {
      if (isDmaBufError(error) && error.code === "ETIMEDOUT") return 0;
      throw error;
    }
    return Math.max(1, deadlineUs - this.scheduler.nowUs);
  }

  /** @internal The last buffer of an embedded reservation is gone (`dma_resv_fini`). */
  dropFences(): void {
    this.#fences.length = 0;
  }

  /** @internal */
  override handOver(guard: LockGuard): void {
    if (guard !== this.holder) return;
    this.#slots = undefined;
    this.#events?.emit({ type: "unlock", lock: this.name });
    super.handOver(guard);
  }

  protected override makeGuard(sync: boolean): Held {
    this.#events?.emit({ type: "lock", lock: this.name });
    return new Held(this, sync);
  }

  #replaceable(fence: Fence, rank: number): FenceEntry | undefined {
    for (const entry of this.#fences) {
      const old = entry.fence;
      if (old.signaled) return entry;
      if (old.context === fence.context && entry.rank >= rank && fence.seqno >= old.seqno) {
        return entry;
      }
    }
    return undefined;
  }

  #announce(fence: Fence, usage: FenceUsage): void {
    const events = this.#events;
    if (events === undefined) return;
    const lock = this.name;
    events.emit({ type: "fence", lock, fence: fence.name, usage });
    fence.onSignal(() => {
      events.emit({ type: "signal", lock, fence: fence.name });
    });
  }

  #whyNotHeld(held: unknown): string {
    if (!(held instanceof Held)) return "the reservation is not held";
    if (held.reservation === this) return "the proof was released";
    return `the proof is of ${held.reservation.name}, not of ${this.name}`;
  }
}
