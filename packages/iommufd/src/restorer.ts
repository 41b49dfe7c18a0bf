import type { ObjectWatch, Scheduler } from "@peerbar/core";
import type { DmaBufPages } from "./dma-buf-pages.js";

/**
 * Beyond Linux: maps revoked buffers again, later, under a hold of its own. An un-revoke is announced before the flag is lifted
 * (vfio-pci-dmabuf section 2, step 5 of the move): where both are in one hold that is enough. An exporter that lifts it in a later hold, as
 * vfio-pci, refuses what is asked between the two, and tells by `DmaBuf.mappingsRestored`.
 */
export class Restorer {
  readonly #scheduler: Scheduler;
  readonly #tasks = new Map<DmaBufPages, Promise<void>>();
  /** What is asked for and not done yet is looked at without a lock. */
  readonly #watch: ObjectWatch | undefined;

  constructor(scheduler: Scheduler, watch: ObjectWatch | undefined) {
    this.#scheduler = scheduler;
    this.#watch = watch;
  }

  request(pages: DmaBufPages): void {
    this.#watch?.touch(true);
    if (this.#tasks.has(pages)) return;
    const task = new Promise<void>((done) => {
      this.#scheduler.defer(() => {
        void this.#restore(pages).then(done);
      });
    });
    this.#tasks.set(pages, task);
  }

  /** Waits until no request is left. */
  async settled(): Promise<void> {
    this.#watch?.touch(false);
    while (this.#tasks.size > 0) await Promise.all(this.#tasks.values());
  }

  async #restore(pages: DmaBufPages): Promise<void> {
    await pages.buffer.reservation.hold((held) => {
      this.#watch?.touch(true);
      this.#tasks.delete(pages);
      try {
        pages.restore(held);
      } catch {
        // Not lifted yet, revoked again meanwhile, or no room: it stays revoked, and the next announcement tries again.
      }
    });
  }
}
