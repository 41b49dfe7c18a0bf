import { DmaBufError, type WaitOptions } from "@peerbar/core";
import { Backing, type BackingParams } from "./backing.js";
import { DmaBufUmem } from "./umem.js";

/** Called once the memory is there and before the hardware is programmed: allocates the key. May throw. */
export type Adopt = (backing: Backing) => void;

/**
 * Pinned and mapped from registration to deregistration. Revocable: the exporter can end it for good (rdma-umem section 6). Not revocable: it
 * is never told (rdma-umem R16), and only the device itself can end it early (data-direct, R25).
 */
export class PinnedBacking extends Backing {
  readonly umem: DmaBufUmem;

  private constructor(params: BackingParams, umem: DmaBufUmem) {
    super(params);
    this.umem = umem;
  }

  /** Order of irdma: get, key, hardware, callback, unlock (rdma-umem R26); a failure unlocks, then releases (R5). */
  static async revocable(
    params: BackingParams,
    adopt: Adopt,
    options?: WaitOptions,
  ): Promise<PinnedBacking> {
    const { device, buffer } = params;
    const { umem, held } = await DmaBufUmem.getPinnedRevocableAndLock(
      device,
      buffer,
      sliceOf(params),
      options,
    );
    const backing = new PinnedBacking(params, umem);
    try {
      adopt(backing);
      backing.#programAll();
      umem.setRevokeLocked(held, (locked) => {
        backing.invalidate(locked, "revoked");
      });
    } catch (error) {
      held.release();
      await umem.release();
      throw error;
    }
    held.release();
    return backing;
  }

  static async unrevocable(
    params: BackingParams,
    adopt: Adopt,
    options?: WaitOptions,
  ): Promise<PinnedBacking> {
    const { device, buffer } = params;
    const umem = await DmaBufUmem.getPinned(device, buffer, sliceOf(params), options);
    const backing = new PinnedBacking(params, umem);
    try {
      adopt(backing);
      backing.#programAll();
    } catch (error) {
      await umem.release();
      throw error;
    }
    return backing;
  }

  override fault(): Promise<void> {
    return Promise.reject(
      new DmaBufError("EINVAL", "rdma.fault", "the memory was revoked for good", {
        rule: "rdma-umem R14",
      }),
    );
  }

  /** The device's own revoke: hardware first, then the mapping (rdma-umem R25). */
  async revoke(): Promise<void> {
    await this.params.buffer.reservation.hold((held) => {
      this.invalidate(held, "revoked");
    });
    await this.inFlight.drained();
    await this.umem.revoke();
  }

  /** The umem's release does the hardware invalidation through its callback (rdma-umem R28). */
  override async release(): Promise<void> {
    await this.revoke();
    await this.umem.release();
  }

  #programAll(): void {
    const { slice } = this.umem;
    if (slice !== undefined) this.program(slice, this.params.profile.noPageSize);
  }
}

/** The part of the buffer, as the umem wants it. */
export function sliceOf({ offset, length, access }: BackingParams): {
  offset: bigint;
  size: bigint;
  access: number;
} {
  return { offset, size: length, access };
}
