import type { ObjectWatch, Scheduler, Waiter } from "@peerbar/core";

/** Runs a device's work one item after the other, apart from whoever rang the doorbell. */
export class WorkLoop {
  readonly #scheduler: Scheduler;
  readonly #next: () => Promise<boolean>;
  readonly #name: string;
  readonly #idle: Waiter[] = [];
  readonly #watch: ObjectWatch | undefined;
  #running = false;

  /** @param next - does one item; false when there is none. Must not throw. */
  constructor(name: string, scheduler: Scheduler, next: () => Promise<boolean>) {
    this.#name = name;
    this.#scheduler = scheduler;
    this.#next = next;
    this.#watch = scheduler.watch?.object(`${name} work`);
  }

  /** Work may have come. */
  kick(): void {
    this.#watch?.touch(true);
    if (this.#running) return;
    this.#running = true;
    this.#scheduler.defer(() => {
      void this.#run();
    });
  }

  /** Resolves when nothing is left to do. */
  idle(): Promise<void> {
    this.#watch?.touch(true);
    if (!this.#running) return Promise.resolve();
    const waiter = this.#scheduler.park({ kind: "drain", on: this.#name });
    this.#idle.push(waiter);
    return waiter.promise;
  }

  async #run(): Promise<void> {
    while (await this.#next());
    this.#watch?.touch(true);
    this.#running = false;
    for (const waiter of this.#idle.splice(0)) waiter.wake();
  }
}
