import type { DmaBufError } from "./error.js";
import { type Fence, waitForFence } from "./fence.js";
import { defaultScheduler, type Scheduler } from "./scheduler.js";
import type { WaitOptions } from "./wait.js";

/**
 * Several fences as one, signalled when all of them are (`struct dma_fence_array`). A reservation takes plain fences only (dma-buf R36):
 * {@link unwrapFences} takes a container apart.
 */
export class FenceArray implements Fence {
  readonly parts: readonly Fence[];
  readonly name: string;
  /** Containers are on no timeline of their own. */
  readonly context = 0;
  readonly seqno = 0;
  readonly #scheduler: Scheduler;

  /**
   * Signals when all of `parts` have, at once where they are none; the first that failed gives its error.
   * @param parts - stay their makers'
   */
  constructor(parts: readonly Fence[], scheduler: Scheduler = defaultScheduler) {
    this.parts = [...parts];
    this.name = `array(${this.parts.map((part) => part.name).join(" ")})`;
    this.#scheduler = scheduler;
  }

  /** True when every part is. */
  get signaled(): boolean {
    return this.parts.every((part) => part.signaled);
  }

  /** That of the first part that failed. */
  get error(): DmaBufError | undefined {
    return this.parts.find((part) => part.error !== undefined)?.error;
  }

  /** As {@link Fence.onSignal}, once after the last part. */
  onSignal(callback: () => void): () => void {
    let left = this.parts.length;
    const done = (): void => {
      left -= 1;
      if (left === 0) callback();
    };
    if (left === 0) callback();
    const takeBack = this.parts.map((part) => part.onSignal(done));
    return () => {
      for (const undo of takeBack) undo();
    };
  }

  /** @throws DmaBufError EINTR, ETIMEDOUT as the options say. */
  async wait(options?: WaitOptions): Promise<void> {
    if (!this.signaled) await waitForFence(this.#scheduler, this, options);
  }
}

/** A fence that was never pending: what a sync file of an idle buffer carries (dma-buf R45). */
export const signaledFence: Fence = {
  name: "stub",
  context: 0,
  seqno: 0,
  signaled: true,
  error: undefined,
  parts: undefined,
  onSignal(callback) {
    callback();
    return () => undefined;
  },
  async wait() {
    // Signalled from the start.
  },
};

/** The plain fences inside, containers in containers included (`dma_fence_unwrap`); a plain fence gives itself (dma-buf R46). */
export function unwrapFences(fence: Fence): readonly Fence[] {
  const plain: Fence[] = [];
  const open: Fence[] = [fence];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (next.parts === undefined) plain.push(next);
    else open.push(...[...next.parts].reverse());
  }
  return plain;
}
