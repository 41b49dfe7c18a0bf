import {
  type DeviceFence,
  FenceContext,
  type Held,
  type ObjectWatch,
  type Scheduler,
  waitFor,
} from "@peerbar/core";

const contexts = new WeakMap<Scheduler, number>();

function nextContext(scheduler: Scheduler): number {
  const context = (contexts.get(scheduler) ?? 0x4d52_0000) + 1;
  contexts.set(scheduler, context);
  return context;
}

/**
 * The DMA of one region that is on the wires. A revoke in the kernel waits inside the callback until the hardware has flushed it; the model
 * may not wait there, so the exporter is given a BOOKKEEP fence instead, which it waits for next (dma-buf R30). Nothing in flight: no fence.
 */
export class InFlight {
  readonly #name: string;
  readonly #scheduler: Scheduler;
  readonly #watch: ObjectWatch | undefined;
  readonly #idle = new Set<() => void>();
  #timeline: FenceContext | undefined;
  #count = 0;
  #fence: DeviceFence | undefined;

  constructor(name: string, scheduler: Scheduler) {
    this.#name = name;
    this.#scheduler = scheduler;
    this.#watch = scheduler.watch?.object(name);
  }

  begin(): void {
    this.#watch?.touch(true);
    this.#count += 1;
  }

  end(): void {
    this.#watch?.touch(true);
    this.#count -= 1;
    if (this.#count > 0) return;
    const fence = this.#fence;
    this.#fence = undefined;
    fence?.signal();
    for (const wake of [...this.#idle]) wake();
  }

  /** Makes the exporter wait for what is in flight now. */
  fenceOff(held: Held): void {
    this.#watch?.touch(false);
    if (this.#count === 0 || this.#fence !== undefined) return;
    this.#timeline ??= new FenceContext(nextContext(this.#scheduler), this.#name, this.#scheduler);
    this.#fence = this.#timeline.next();
    held.reservation.reserveFences(held, 1);
    held.reservation.addFence(held, this.#fence, "bookkeep");
  }

  /** Waits until nothing is on the wires. Start no more before. */
  async drained(): Promise<void> {
    this.#watch?.touch(false);
    if (this.#count === 0) return;
    await waitFor(
      this.#scheduler,
      { kind: "drain", on: this.#name },
      undefined,
      "rdma.drain",
      (wake) => {
        this.#idle.add(wake);
        return () => this.#idle.delete(wake);
      },
    );
  }
}
