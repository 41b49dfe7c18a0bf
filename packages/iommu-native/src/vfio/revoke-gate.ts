import {
  type DmaBuf,
  DmaBufError,
  type Held,
  Lock,
  type Scheduler,
  type WaitOptions,
} from "@peerbar/core";

/**
 * The importers of this process, told as the kernel tells its own: before the hardware acts, and again when memory is back
 * (vfio-pci-dmabuf section 2). Two triggers never overlap, as under the kernel's memory_lock.
 */
export class RevokeGate {
  readonly #lock: Lock;
  readonly #memoryEnabled: () => boolean;
  readonly #buffers = new Set<DmaBuf>();
  /** A trigger is on its way, or left memory off: importers know already. */
  #revoked = false;

  /** @param memoryEnabled - asks the kernel whether the BARs answer. */
  constructor(name: string, memoryEnabled: () => boolean, scheduler: Scheduler) {
    this.#lock = new Lock(`${name} memory_lock`, scheduler);
    this.#memoryEnabled = memoryEnabled;
  }

  /** True while nothing may be mapped: by what this process did, or by what the kernel says. */
  get revoked(): boolean {
    return this.#revoked || !this.#memoryEnabled();
  }

  get buffers(): Iterable<DmaBuf> {
    return this.#buffers;
  }

  get size(): number {
    return this.#buffers.size;
  }

  add(buffer: DmaBuf): void {
    this.#buffers.add(buffer);
  }

  remove(buffer: DmaBuf): void {
    this.#buffers.delete(buffer);
  }

  /** Runs `work` when no trigger is under way. */
  async exclusive<T>(work: () => T | Promise<T>, options?: WaitOptions): Promise<T> {
    const guard = await this.#lock.lock(options);
    try {
      return await work();
    } finally {
      guard.release();
    }
  }

  /**
   * Runs a call that takes memory away: flag first, importers are told, their fences are waited for, then the call; importers are told
   * again where memory is there afterwards, also where the call failed (vfio-pci-dmabuf R16, R18, triggers).
   */
  async revokeAround<T>(call: () => T | Promise<T>, options?: WaitOptions): Promise<T> {
    return this.exclusive(async () => {
      try {
        await this.#move(true, options);
        return await call();
      } finally {
        if (this.#memoryEnabled()) await this.#move(false, options);
      }
    }, options);
  }

  /** After a call that may have brought memory back. */
  async restoreAfter<T>(call: () => T | Promise<T>, options?: WaitOptions): Promise<T> {
    return this.exclusive(async () => {
      const result = await call();
      if (this.#memoryEnabled()) await this.#move(false, options);
      return result;
    }, options);
  }

  async #move(revoked: boolean, options: WaitOptions | undefined): Promise<void> {
    if (this.#revoked === revoked) return;
    // On the way back importers hear of it while the flag still stands, so that none of them maps too early.
    if (revoked) this.#revoked = true;
    for (const buffer of this.#buffers) {
      if (!buffer.released) await tell(buffer, revoked, options);
    }
    this.#revoked = revoked;
  }
}

async function tell(
  buffer: DmaBuf,
  revoked: boolean,
  options: WaitOptions | undefined,
): Promise<void> {
  const { reservation } = buffer;
  const held: Held = await reservation.lock(options);
  try {
    buffer.invalidateMappings(held);
    if (revoked) await reservation.wait("bookkeep", options);
  } finally {
    held.release();
  }
}

/** EBADF: use after close. */
export function closedDevice(syscall: string, address: string): DmaBufError {
  return new DmaBufError("EBADF", syscall, `${address} was closed`, { hint: "open it again" });
}
