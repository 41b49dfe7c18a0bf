import { type DmaBufError, ProtocolViolation } from "./error.js";
import { defaultScheduler, type ObjectWatch, type Scheduler } from "./scheduler.js";
import { type WaitOptions, waitFor } from "./wait.js";

/**
 * Usage of a fence in a reservation, in the kernel's order: a wait for one usage waits for it and all before it (dma-buf R34).
 */
export const fenceUsages = ["kernel", "write", "read", "bookkeep"] as const;
/** One of {@link fenceUsages}. */
export type FenceUsage = (typeof fenceUsages)[number];

/** KERNEL 0, WRITE 1, READ 2, BOOKKEEP 3. */
export function usageRank(usage: FenceUsage): number {
  return fenceUsages.indexOf(usage);
}

/** What a new operation must wait for: a writer for readers and writers, a reader for writers (dma-buf R35). */
export function usageFor(access: "read" | "write"): FenceUsage {
  return access === "write" ? "read" : "write";
}

/** A promise of work on a device: signalled once, never unsignalled (`struct dma_fence`). */
export interface Fence {
  readonly name: string;
  /** Timeline; fences of one context signal in order of `seqno`. */
  readonly context: number;
  /** Place on the timeline, from 1; rises by one with each fence of the context. */
  readonly seqno: number;
  readonly signaled: boolean;
  /** Set where the work failed. */
  readonly error: DmaBufError | undefined;
  /** Fences inside a container; undefined for a plain one. */
  readonly parts: readonly Fence[] | undefined;
  /** Runs once, at once where already signalled. Returns how to take the callback back. */
  onSignal(callback: () => void): () => void;
  /** @throws DmaBufError EINTR or ETIMEDOUT as the options say. A failed fence counts as signalled. */
  wait(options?: WaitOptions): Promise<void>;
}

/** A timeline that makes fences in order. Contexts are numbered by their maker, so that runs repeat. */
export class FenceContext {
  /** Number of the timeline, as its maker gave it. */
  readonly context: number;
  readonly name: string;
  readonly #scheduler: Scheduler;
  #seqno = 0;

  /**
   * @param context - number of the timeline; fences of two timelines with one number would be taken for one's
   * @param name - of its fences, for events and errors
   */
  constructor(context: number, name: string, scheduler: Scheduler = defaultScheduler) {
    this.context = context;
    this.name = name;
    this.#scheduler = scheduler;
  }

  /** The next fence of the timeline; whoever asked signals it. */
  next(): DeviceFence {
    this.#seqno += 1;
    return new DeviceFence(this.context, this.#seqno, this.name, this.#scheduler);
  }
}

/** Callbacks of one fence. The same function may be in it twice. */
class Callbacks {
  #waiting: Set<{ readonly run: () => void }> | undefined;

  add(callback: () => void): () => void {
    const entry = { run: callback };
    const waiting = this.#waiting ?? new Set();
    this.#waiting = waiting;
    waiting.add(entry);
    return () => waiting.delete(entry);
  }

  /** Runs each one, even where an earlier one throws; the first error is thrown at the end. */
  runAll(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) return;
    let failed = false;
    let first: unknown;
    for (const entry of waiting) {
      try {
        entry.run();
      } catch (error) {
        first = failed ? first : error;
        failed = true;
      }
    }
    if (failed) throw first;
  }
}

/** A fence whose owner signals it when the device has finished. */
export class DeviceFence implements Fence {
  readonly context: number;
  readonly seqno: number;
  readonly name: string;
  readonly parts = undefined;
  readonly #scheduler: Scheduler;
  readonly #callbacks = new Callbacks();
  readonly #watch: ObjectWatch | undefined;
  #signaled = false;
  #error: DmaBufError | undefined;

  /**
   * @param context - number of the timeline
   * @param seqno - place on it, from 1: see {@link FenceContext.next}, which counts
   * @param name - of the timeline; the fence's own has both numbers added
   */
  constructor(
    context: number,
    seqno: number,
    name: string,
    scheduler: Scheduler = defaultScheduler,
  ) {
    this.context = context;
    this.seqno = seqno;
    this.name = `${name}:${String(context)}#${String(seqno)}`;
    this.#scheduler = scheduler;
    this.#watch = scheduler.watch?.object(this.name);
  }

  /** The device has finished or failed. */
  get signaled(): boolean {
    this.#watch?.touch(false);
    return this.#signaled;
  }

  /** What {@link signal} was given. */
  get error(): DmaBufError | undefined {
    return this.#error;
  }

  /**
   * The device has finished, or failed with `error`. Callbacks run in this call, in the order they were added.
   *
   * @throws ProtocolViolation when signalled already (`dma_fence_signal` returns EINVAL).
   */
  signal(error?: DmaBufError): void {
    this.#watch?.touch(true);
    if (this.#signaled) {
      throw new ProtocolViolation(
        "dma-fence",
        "fence.signal",
        `${this.name} is signalled already`,
        { code: "EINVAL" },
      );
    }
    this.#signaled = true;
    this.#error = error;
    this.#callbacks.runAll();
  }

  /** As {@link Fence.onSignal}. */
  onSignal(callback: () => void): () => void {
    this.#watch?.touch(false);
    if (!this.#signaled) {
      const takeBack = this.#callbacks.add(callback);
      const watch = this.#watch;
      if (watch === undefined) return takeBack;
      return () => {
        watch.touch(true);
        takeBack();
      };
    }
    callback();
    return nothing;
  }

  /** @throws DmaBufError EINTR, ETIMEDOUT as the options say. */
  async wait(options?: WaitOptions): Promise<void> {
    if (!this.signaled) await waitForFence(this.#scheduler, this, options);
  }
}

/**
 * Waits for one fence on the scheduler given, whichever the fence's own is.
 *
 * @throws DmaBufError EINTR, ETIMEDOUT as the options say.
 */
export async function waitForFence(
  scheduler: Scheduler,
  fence: Fence,
  options?: WaitOptions,
): Promise<void> {
  await waitFor(scheduler, { kind: "fence", on: fence.name }, options, "fence.wait", (wake) =>
    fence.onSignal(wake),
  );
}

function nothing(): void {
  // Already signalled: there is no callback left to take back.
}
