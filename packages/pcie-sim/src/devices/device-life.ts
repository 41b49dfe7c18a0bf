import type { AbortSignalLike, ObjectWatch } from "@peerbar/core";

/**
 * The time between two resets of a device model, as a signal for its engine: a transfer that was begun in it stops with EINTR at the next
 * chunk once it has ended.
 */
export class DeviceLife implements AbortSignalLike {
  readonly reason = "the device was reset";
  readonly #watch: ObjectWatch | undefined;
  #ended = false;

  /** @param watch - what a reset of the model tells explorers of. */
  constructor(watch: ObjectWatch | undefined) {
    this.#watch = watch;
  }

  get aborted(): boolean {
    this.#watch?.touch(false);
    return this.#ended;
  }

  /** A reset: nothing that was begun has an effect from now on. */
  end(): void {
    this.#watch?.touch(true);
    this.#ended = true;
  }

  /** Engines look between chunks; nobody sleeps on it. */
  addEventListener(): void {}

  removeEventListener(): void {}
}
