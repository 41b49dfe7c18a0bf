import {
  type DmaBuf,
  DmaBufError,
  type Held,
  Lock,
  type Scheduler,
  type WaitOptions,
} from "@peerbar/core";

/**
 * What importers of this process were told last. Only the outer two are final: what stands between them is begun and not done, and the
 * next trigger goes through all of it again.
 */
type GateState = "live" | "revoking" | "revoked" | "restoring";

/**
 * The importers of this process, told as the kernel tells its own: before the hardware acts, and again when memory is back
 * (vfio-pci-dmabuf section 2). Two triggers never overlap, as under the kernel's memory_lock.
 */
export class RevokeGate {
  readonly #lock: Lock;
  readonly #memoryEnabled: () => boolean;
  readonly #buffers = new Set<DmaBuf>();
  #state: GateState = "live";

  /** @param memoryEnabled - asks the kernel whether the BARs answer. */
  constructor(name: string, memoryEnabled: () => boolean, scheduler: Scheduler) {
    this.#lock = new Lock(`${name} memory_lock`, scheduler);
    this.#memoryEnabled = memoryEnabled;
  }

  /** True while nothing may be mapped: by what this process did, or by what the kernel says. */
  get revoked(): boolean {
    return this.#state !== "live" || !this.#memoryEnabled();
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
   *
   * @throws DmaBufError EINTR, ETIMEDOUT as the options say: the call was not made, and importers were told that memory is back.
   */
  async revokeAround<T>(call: () => T | Promise<T>, options?: WaitOptions): Promise<T> {
    return this.exclusive(async () => {
      let result: T;
      try {
        await this.#revoke(options);
        result = await call();
      } catch (error) {
        // What went wrong first is what the caller must hear.
        await this.#restore().catch(() => undefined);
        throw error;
      }
      await this.#restore();
      return result;
    }, options);
  }

  /** After a call that may have brought memory back. */
  async restoreAfter<T>(call: () => T | Promise<T>, options?: WaitOptions): Promise<T> {
    return this.exclusive(async () => {
      const result = await call();
      await this.#restore();
      return result;
    }, options);
  }

  async #revoke(options: WaitOptions | undefined): Promise<void> {
    if (this.#state === "revoked") return;
    this.#state = "revoking";
    for (const buffer of this.#buffers) {
      if (!buffer.released) await tell(buffer, true, options);
    }
    this.#state = "revoked";
  }

  /**
   * Where memory answers again: importers hear of it while the flag still stands, so that none of them maps too early. The caller's options
   * do not count here: the hardware has acted, or was never asked to, and nobody else would lift the flag.
   *
   * @throws what the first importer's callback threw, after all of them were told and the flag is down.
   */
  async #restore(): Promise<void> {
    if (this.#state === "live" || !this.#memoryEnabled()) return;
    this.#state = "restoring";
    const failures: unknown[] = [];
    for (const buffer of this.#buffers) {
      if (buffer.released) continue;
      await tell(buffer, false, undefined).catch((error: unknown) => failures.push(error));
    }
    this.#state = "live";
    if (failures.length > 0) throw failures[0];
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
