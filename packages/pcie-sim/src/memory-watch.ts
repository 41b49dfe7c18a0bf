import type { Scheduler } from "@peerbar/core";

/** Hears what of a memory is looked at and changed: an explorer must know which steps do not commute. */
export interface MemoryWatch {
  /** The pieces `first` to `last`, both included, are read or written. */
  pieces(first: number, last: number, writes: boolean): void;
  /** Everything is looked at, or changed. */
  all(): void;
}

/** Undefined where nobody explores. */
export function watchMemory(scheduler: Scheduler, name: string): MemoryWatch | undefined {
  const { watch } = scheduler;
  if (watch === undefined) return undefined;
  const whole = watch.object(name);
  return {
    pieces(first, last, writes) {
      whole.touch(false);
      for (let piece = first; piece <= last; piece++)
        watch.touch(`${name}, piece ${String(piece)}`, writes);
    },
    all() {
      whole.touch(true);
    },
  };
}
