import { type DmaBufError, ProtocolViolation } from "./error.js";
import { defaultScheduler, type Scheduler } from "./scheduler.js";
import { type WaitOptions, waitFor } from "./wait.js";

/**
 * Usage of a fence in a reservation, in the kernel's order: a wait for one usage waits for it and all before it (dma-buf R34).
 */
export const fenceUsages = ["kernel", "write", "read", "bookkeep"] as const;
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
  readonly context: number;
  readonly name: string;
  readonly #scheduler: Scheduler;
  #seqno = 0;

  constructor(context: number, name: string, scheduler: Scheduler = defaultScheduler) {
    this.context = context;
    this.name = name;
    this.#scheduler = scheduler;
  }

  next(): DeviceFence {
    this.#seqno += 1;
    return new DeviceFence(this.context, this.#seqno, this.name, this.#scheduler);
  }
}

/** A fence whose owner signals it when the device has finished. */
export class DeviceFence implements Fence {
  readonly context: number;
  readonly seqno: number;
  readonly name: string;
  readonly parts = undefined;
  readonly #scheduler: Scheduler;
  #signaled = false;
  #error: DmaBufError | undefined;
  #callbacks: Set<() => void> | undefined;

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
  }

  get signaled(): boolean {
    return this.#signaled;
  }

  get error(): DmaBufError | undefined {
    return this.#error;
  }

  /** @throws ProtocolViolation when signalled already (`dma_fence_signal` returns EINVAL). */
  signal(error?: DmaBufError): void {
    if (this.#signaled) {
      throw new ProtocolViolation(
        "dma-fence",
        "fence.signal",
        `${this.name} is signalled already`,
        {
          code: "EINVAL",
        },
      );
    }
    this.#signaled = true;
    this.#error = error;
    const callbacks = this.#callbacks;
    this.#callbacks = undefined;
    if (callbacks !== undefined) for (const callback of callbacks) callback();
  }

  onSignal(callback: () => void): () => void {
    if (this.#signaled) {
      callback();
      return () => undefined;
    }
    const callbacks = (this.#callbacks ??= new Set());
    callbacks.add(callback);
    return () => {
      callbacks.delete(callback);
    };
  }

  async wait(options?: WaitOptions): Promise<void> {
    if (this.#signaled) return;
    await waitFor(
      this.#scheduler,
      { kind: "fence", on: this.name },
      options,
      "fence.wait",
      (wake) => this.onSignal(wake),
    );
  }
}
