import { type Held, Lock, type Scheduler, type WaitOptions } from "@peerbar/core";
import type { BarBuffer } from "./bar-buffer.js";
import type { Registration } from "./registration.js";

/** A revoke that waits for importers. */
export interface Draining {
  /** The buffer's label. */
  readonly buffer: string;
  /** What is waited for now: the reservation, fences, or unmaps; undefined where the waiting was given up and nobody repeated it. */
  readonly waitsFor: "lock" | "fences" | "mappings" | undefined;
  /** Mappings that importers have not given back. */
  readonly mappings: number;
  /** Fences not yet signalled. */
  readonly fences: number;
}

/**
 * The buffers exported from one open device, and the lock that guards their state: the kernel's `vdev->dmabufs` and `memory_lock`
 * (write side). Lock order: memory_lock, then one reservation (vfio-pci-dmabuf, lock order).
 */
export class BufferList {
  readonly memoryLock: Lock;
  readonly #registration: Registration;
  readonly #buffers = new Set<BarBuffer>();

  constructor(name: string, scheduler: Scheduler, registration: Registration) {
    this.memoryLock = new Lock(`${name} memory_lock`, scheduler);
    this.#registration = registration;
  }

  get size(): number {
    return this.#buffers.size;
  }

  get buffers(): Iterable<BarBuffer> {
    return this.#buffers;
  }

  /** Buffers whose revoke is not complete. */
  get draining(): readonly Draining[] {
    const found: Draining[] = [];
    for (const buffer of this.#buffers) {
      if (buffer.drained && buffer.waitsFor === undefined) continue;
      const { label, reservation } = buffer.dmabuf;
      found.push({
        buffer: label,
        waitsFor: buffer.waitsFor,
        mappings: buffer.mappings,
        fences: reservation.pending("bookkeep").length,
      });
    }
    return found;
  }

  /** The buffer brings one registration reference, taken by its maker; it goes when the buffer leaves. */
  add(buffer: BarBuffer): void {
    this.#buffers.add(buffer);
  }

  /** A released buffer leaves under the memory lock: at once where it is free, else when its turn comes (vfio-pci-dmabuf R15). */
  leave(buffer: BarBuffer): void {
    const guard = this.memoryLock.tryLock();
    if (guard === undefined) {
      void this.memoryLock.hold(() => {
        this.#remove(buffer);
      });
      return;
    }
    try {
      this.#remove(buffer);
    } finally {
      guard.release();
    }
  }

  /**
   * `vfio_pci_dma_buf_move`: makes every buffer unusable, or usable again. The caller holds {@link memoryLock}. Returns once no mapping is
   * live and no fence is pending (vfio-pci-dmabuf R16).
   *
   * A buffer whose earlier revoke was cut short is drained to the end first, whichever way it goes: no mapping of before outlives a revoke.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT as the options say. Buffers handled so far stay as they are by then.
   */
  async move(revoked: boolean, options?: WaitOptions): Promise<void> {
    for (const buffer of this.#buffers) {
      // Release is due: nobody can map any more.
      if (buffer.dmabuf.released) continue;
      if (buffer.revoked === revoked && buffer.drained) continue;
      // No reference is needed meanwhile: a release waits for the memory lock, which the caller holds.
      await (revoked ? revoke(buffer, options) : restore(buffer, options));
    }
  }

  /** Cuts every buffer off from the device for good; they stay revoked (vfio-pci-dmabuf R28). The caller holds the lock and has revoked. */
  orphan(): void {
    for (const buffer of this.#buffers) this.#forget(buffer);
  }

  #remove(buffer: BarBuffer): void {
    // Closing may have been faster.
    if (buffer.list !== undefined) this.#forget(buffer);
  }

  #forget(buffer: BarBuffer): void {
    this.#buffers.delete(buffer);
    buffer.list = undefined;
    this.#registration.put();
  }
}

/** Flag, invalidate, fences, drain, re-arm: the order of vfio-pci-dmabuf section 2. */
async function revoke(buffer: BarBuffer, options: WaitOptions | undefined): Promise<void> {
  await notify(buffer, options, true);
  await buffer.drain(options);
}

/** Importers hear of it while the flag still stands (step 5), so that none of them maps too early. */
async function restore(buffer: BarBuffer, options: WaitOptions | undefined): Promise<void> {
  await notify(buffer, options, false);
  if (!buffer.drained) await buffer.drain(options);
  const { dmabuf } = buffer;
  await holding(buffer, options, (held) => {
    buffer.markRestored();
    dmabuf.mappingsRestored(held);
  });
  dmabuf.events?.emit({ type: "restore", buffer: dmabuf.label, inode: dmabuf.inode });
}

/** Invalidates every attachment and waits for all fences, BOOKKEEP included (known-bugs B2, B3), with the reservation held. */
function notify(
  buffer: BarBuffer,
  options: WaitOptions | undefined,
  revokes: boolean,
): Promise<void> {
  const { dmabuf } = buffer;
  return holding(buffer, options, async (held) => {
    if (revokes && !buffer.revoked) {
      buffer.markRevoked();
      dmabuf.events?.emit({ type: "revoke", buffer: dmabuf.label, inode: dmabuf.inode });
    }
    dmabuf.invalidateMappings(held);
    buffer.waitsFor = "fences";
    await dmabuf.reservation.wait("bookkeep", options);
  });
}

/** Runs `work` with the buffer's reservation held, and says meanwhile what is waited for. */
async function holding(
  buffer: BarBuffer,
  options: WaitOptions | undefined,
  work: (held: Held) => void | Promise<void>,
): Promise<void> {
  buffer.waitsFor = "lock";
  try {
    await buffer.dmabuf.reservation.hold((held) => {
      buffer.waitsFor = undefined;
      return work(held);
    }, options);
  } finally {
    buffer.waitsFor = undefined;
  }
}
