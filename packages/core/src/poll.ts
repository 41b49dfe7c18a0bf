import type { DmaBuf, DmaBufReference } from "./dma-buf.js";
import { DmaBufError } from "./error.js";
import type { Fence, FenceUsage } from "./fence.js";
import { type WaitOptions, waitFor } from "./wait.js";

/** Readers need not wait: no unsignalled fence of KERNEL or WRITE (dma-buf R48). */
export const POLLIN = 0x1;
/** Writers need not wait: none of KERNEL, WRITE or READ either (dma-buf R48). */
export const POLLOUT = 0x4;

type Direction = "in" | "out";
const usageOf: Readonly<Record<Direction, FenceUsage>> = { in: "write", out: "read" };

/**
 * @internal The polls of one buffer: armed ones, one a direction, and callers that sleep. Each has a reference of its own (dma-buf R48).
 */
export class Poller {
  readonly #buffer: DmaBuf;
  readonly #reference: () => DmaBufReference;
  readonly #armed = new Map<Direction, DmaBufReference>();
  readonly #waiting = new Set<() => void>();
  #sleeping = 0;

  constructor(buffer: DmaBuf, reference: () => DmaBufReference) {
    this.#buffer = buffer;
    this.#reference = reference;
  }

  /** Directions that wait for a fence now. */
  get armed(): number {
    return this.#armed.size;
  }

  /** References that polls hold: of those armed, and of callers that sleep. */
  get references(): number {
    return this.#armed.size + this.#sleeping;
  }

  /** One call of the poll operation: what is ready; arms what is not. */
  poll(events: number): number {
    let ready = 0;
    if ((events & POLLOUT) !== 0 && this.#ready("out")) ready |= POLLOUT;
    if ((events & POLLIN) !== 0 && this.#ready("in")) ready |= POLLIN;
    return ready;
  }

  /** Sleeps on the queue until something asked for is ready. Holds the file meanwhile, as poll(2) does, whoever closes it. */
  async wait(events: number, options: WaitOptions | undefined): Promise<number> {
    if ((events & (POLLIN | POLLOUT)) === 0) {
      throw new DmaBufError("EINVAL", "dmabuf.poll", `no event in ${String(events)}`);
    }
    const ready = this.poll(events);
    if (ready !== 0) return ready;
    const reference = this.#reference();
    this.#sleeping += 1;
    try {
      return await this.#sleep(events, options);
    } finally {
      this.#sleeping -= 1;
      reference.put();
    }
  }

  async #sleep(events: number, options: WaitOptions | undefined): Promise<number> {
    const { label, reservation } = this.#buffer;
    for (;;) {
      await waitFor(
        reservation.scheduler,
        { kind: "fence", on: `${label}.poll` },
        options,
        "dmabuf.poll",
        (wake) => {
          this.#waiting.add(wake);
          return () => this.#waiting.delete(wake);
        },
      );
      const ready = this.poll(events);
      if (ready !== 0) return ready;
    }
  }

  #ready(direction: Direction): boolean {
    // Armed already: whoever comes later just waits on the queue.
    if (this.#armed.has(direction)) return false;
    const fence = this.#buffer.reservation.firstPending(usageOf[direction]);
    if (fence === undefined) return true;
    this.#arm(direction, fence);
    return false;
  }

  #arm(direction: Direction, fence: Fence): void {
    this.#armed.set(direction, this.#reference());
    const { label: buffer, inode, events } = this.#buffer;
    events?.emit({ type: "poll-arm", buffer, inode, direction });
    fence.onSignal(() => {
      this.#fire(direction);
    });
  }

  #fire(direction: Direction): void {
    const reference = this.#armed.get(direction);
    this.#armed.delete(direction);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
    const { label: buffer, inode, events } = this.#buffer;
    events?.emit({ type: "poll-fire", buffer, inode, direction });
    reference?.put();
  }
}
