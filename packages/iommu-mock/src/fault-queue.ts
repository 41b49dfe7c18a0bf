import type { Iova, ObjectWatch } from "@peerbar/core";

/** Why the IOMMU stopped an access. */
export type FaultReason =
  /** Nothing is mapped there. */
  | "not-present"
  /** Mapped, but not for this access. */
  | "permission"
  /** The device is in the blocking domain. */
  | "blocked"
  /** Beyond the addresses that the domain can translate. */
  | "out-of-aperture";

/** One access that was stopped. */
export interface IommuFault {
  /** Name of the device that asked. */
  readonly device: string;
  /** First address that could not be translated, page-aligned, in bytes. */
  readonly iova: Iova;
  readonly access: "r" | "w";
  readonly reason: FaultReason;
}

/** Recorded faults, oldest first, in a ring of fixed size. When it is full new faults are counted but not kept, as in hardware. */
export class FaultQueue implements Iterable<IommuFault> {
  /** Faults kept at most. */
  readonly capacity: number;
  /** True once a fault was lost; {@link clear} resets it. */
  overflowed = false;
  /** Faults lost. */
  dropped = 0;
  readonly #watch: ObjectWatch | undefined;
  #faults: IommuFault[] = [];

  /** @param capacity - faults kept at most; more are only counted */
  constructor(capacity = 256, watch?: ObjectWatch) {
    this.capacity = capacity;
    this.#watch = watch;
  }

  /** Faults waiting. */
  get size(): number {
    this.#watch?.touch(false);
    return this.#faults.length;
  }

  /** The faults that are kept, oldest first. */
  [Symbol.iterator](): Iterator<IommuFault> {
    this.#watch?.touch(false);
    return this.#faults[Symbol.iterator]();
  }

  /** Takes all waiting faults out; the overflow mark stays until {@link clear}. */
  drain(): readonly IommuFault[] {
    this.#watch?.touch(true);
    const taken = this.#faults;
    this.#faults = [];
    return taken;
  }

  /** Forgets every fault and the overflow mark. */
  clear(): void {
    this.#watch?.touch(true);
    this.#faults = [];
    this.overflowed = false;
    this.dropped = 0;
  }

  /** @internal */
  push(fault: IommuFault): void {
    this.#watch?.touch(true);
    if (this.#faults.length < this.capacity) this.#faults.push(fault);
    else {
      this.overflowed = true;
      this.dropped += 1;
    }
  }
}
