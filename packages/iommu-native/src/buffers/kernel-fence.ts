import {
  DmaBufError,
  defaultScheduler,
  type Fence,
  POLLIN,
  type Scheduler,
  type WaitOptions,
  waitForFence,
} from "@peerbar/core";
import { close, poll, pollAsync } from "@peerbar/linux";
import { everyStep } from "../every-step.js";

/** Milliseconds of one sleep in poll(2): how late a watch notices that nobody waits any more. */
const SLICE_MS = 50;

/**
 * Timelines given out so far. Every fence has one of its own (`dma_fence_context_alloc`): two of one context would replace each other in a
 * reservation (dma-buf R37), and the kernel does not show whose timeline is whose. Numbers below 0, for whoever counts upwards.
 */
let contexts = 0;

/** Descriptors of fences that nobody can reach any more. */
const abandoned = new FinalizationRegistry<number>((fd) => {
  close(fd);
});

/** The kernel's fences behind a sync_file, as one: asked with poll(2). */
export class KernelFence implements Fence {
  readonly name: string;
  readonly context: number;
  readonly seqno = 1;
  readonly parts = undefined;
  readonly #fd: number;
  readonly #scheduler: Scheduler;
  readonly #waiting = new Set<{ readonly run: () => void }>();
  #signaled = false;
  #error: DmaBufError | undefined;
  #watching = false;
  #owned = false;

  /** @param fd - the file's, open until {@link takeOver}. */
  constructor(fd: number, scheduler: Scheduler = defaultScheduler) {
    contexts += 1;
    this.context = -contexts;
    this.name = `sync_file:${String(contexts)}`;
    this.#fd = fd;
    this.#scheduler = scheduler;
  }

  /** Asks the kernel until it says yes once: a fence is never unsignalled. */
  get signaled(): boolean {
    if (!this.#signaled) this.#settle(poll([{ fd: this.#fd, events: POLLIN }])[0] ?? 0);
    return this.#signaled;
  }

  /** EBADF where somebody else closed the descriptor: the kernel cannot be asked any more, and the fence counts as failed. */
  get error(): DmaBufError | undefined {
    return this.#error;
  }

  /** As {@link Fence.onSignal}; the sleep is in the kernel, off the main thread. */
  onSignal(callback: () => void): () => void {
    if (this.signaled) {
      callback();
      return () => undefined;
    }
    const entry = { run: callback };
    this.#waiting.add(entry);
    if (!this.#watching) void this.#watch();
    return () => {
      this.#waiting.delete(entry);
    };
  }

  /** @throws DmaBufError EINTR, ETIMEDOUT as the options say, in the scheduler's time. */
  async wait(options?: WaitOptions): Promise<void> {
    if (!this.signaled) await waitForFence(this.#scheduler, this, options);
  }

  /** The file is closed: its descriptor is the fence's now, and stays open as long as there is something to ask. */
  takeOver(): void {
    if (this.#error !== undefined) return;
    this.#owned = true;
    abandoned.register(this, this.#fd, this);
    if (this.signaled) this.#letGo();
  }

  /** Rejects with what a callback threw alone: a bug, which ends the process as any uncaught error does. */
  async #watch(): Promise<void> {
    this.#watching = true;
    while (this.#waiting.size > 0 && !this.#signaled) this.#settle(await this.#sleep());
    this.#watching = false;
    try {
      if (this.#signaled) this.#runAll();
    } finally {
      this.#letGo();
    }
  }

  /** `revents` after a slice at most. */
  async #sleep(): Promise<number> {
    try {
      const [revents = 0] = await pollAsync([{ fd: this.#fd, events: POLLIN }], SLICE_MS);
      return revents;
    } catch {
      // A signal, or no thread or memory to sleep with just now: that says nothing of the fence, which is asked again.
      await new Promise((resolve) => setTimeout(resolve, SLICE_MS));
      return 0;
    }
  }

  /** POLLNVAL and POLLERR come at once and for ever: asking again would only turn the processor. */
  #settle(revents: number): void {
    if (revents === 0 || this.#signaled) return;
    this.#signaled = true;
    if ((revents & POLLIN) === 0) {
      this.#error = new DmaBufError("EBADF", "poll", `${this.name} was closed by somebody else`);
      abandoned.unregister(this);
    } else this.#letGo();
  }

  /** Not under a poll that still sleeps: the number may be another file's before it looks. */
  #letGo(): void {
    const done = this.#signaled && this.#error === undefined;
    if (!this.#owned || !done || this.#watching) return;
    this.#owned = false;
    abandoned.unregister(this);
    close(this.#fd);
  }

  /** Runs each one, even where an earlier one throws; the first error is thrown at the end. */
  #runAll(): void {
    const waiting = [...this.#waiting].map(({ run }) => () => {
      run();
    });
    everyStep([
      ...waiting,
      () => {
        this.#waiting.clear();
      },
    ]);
  }
}
