import type { LockWatch, ObjectWatch } from "@peerbar/core";

/** What watched things ask of the run they are in. */
export interface Watcher {
  touch(number: number, writes: boolean): void;
  attempt(lock: WatchedLock, ordered: boolean): number;
  queued(lock: WatchedLock): void;
  takenNow(lock: WatchedLock): void;
  pause(lock: WatchedLock): Promise<void>;
}

/** A lock held by a strand of an actor; the chain ends with the outermost. Stale once the lock's `turn` has moved on. */
export interface HeldLock {
  readonly lock: WatchedLock;
  readonly turn: number;
  readonly outer: HeldLock | undefined;
}

/** A fence or another thing that several actors use. */
export class WatchedObject implements ObjectWatch {
  readonly #watcher: Watcher;
  readonly #number: number;

  constructor(watcher: Watcher, number: number) {
    this.#watcher = watcher;
    this.#number = number;
  }

  touch(writes: boolean): void {
    this.#watcher.touch(this.#number, writes);
  }
}

/** A lock: who holds it, and the how-manieth holding it is. */
export class WatchedLock implements LockWatch {
  readonly number: number;
  readonly name: string;
  readonly lockClass: string;
  /** Actor that holds it; -1 where it is free. */
  owner = -1;
  /** Grows with every change of hands. */
  turn = 0;
  readonly #watcher: Watcher;

  constructor(watcher: Watcher, number: number, name: string, lockClass: string) {
    this.#watcher = watcher;
    this.number = number;
    this.name = name;
    this.lockClass = lockClass;
  }

  touch(writes: boolean): void {
    this.#watcher.touch(this.number, writes);
  }

  attempt(ordered: boolean): number {
    return this.#watcher.attempt(this, ordered);
  }

  queued(): void {
    this.#watcher.queued(this);
  }

  taken(asker: unknown, sync: boolean): void {
    this.turn += 1;
    this.owner = asker as number;
    if (sync) this.#watcher.takenNow(this);
  }

  released(): void {
    this.turn += 1;
    this.owner = -1;
    this.#watcher.touch(this.number, true);
  }

  pause(): Promise<void> {
    return this.#watcher.pause(this);
  }
}
