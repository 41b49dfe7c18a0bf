import { DmaBufError, type Held, type ImporterOps, type WaitOptions } from "@peerbar/core";
import { Backing, type BackingParams } from "./backing.js";
import { type Adopt, sliceOf } from "./pinned-backing.js";
import { DmaBufUmem } from "./umem.js";

/** mlx5's on-demand paging: page faults map, invalidations unmap, as often as the exporter likes (rdma-umem section 5). */
export class DynamicBacking extends Backing {
  readonly umem: DmaBufUmem;
  /** mlx5's `private`: set while invalidations have something to do (rdma-umem R21, R24). */
  #listening = false;
  #gone = false;

  private constructor(params: BackingParams) {
    super(params);
    this.umem = DmaBufUmem.get(params.device, params.buffer, sliceOf(params), () => this.#ops());
  }

  /** Order of mlx5: get, key, listen, then a fault of the whole length (rdma-umem R20). */
  static async open(
    params: BackingParams,
    adopt: Adopt,
    options?: WaitOptions,
  ): Promise<DynamicBacking> {
    const backing = new DynamicBacking(params);
    try {
      adopt(backing);
      backing.#listening = true;
      await backing.fault(options);
    } catch (error) {
      await backing.release();
      throw error;
    }
    return backing;
  }

  /**
   * A page fault: maps where not mapped, chooses the page size anew, builds the translation, all under the reservation (rdma-umem R22, R34).
   *
   * @throws DmaBufError ENODEV while the exporter is revoked (R23), EINVAL where no page size fits (the mapping is undone) or after the end.
   */
  override fault(options?: WaitOptions): Promise<void> {
    return this.params.buffer.reservation.hold((held) => this.#faultIn(held, options), options);
  }

  /** Under the reservation the hardware forgets it and invalidations stop mattering; the umem's release unmaps (rdma-umem R24). */
  override async release(): Promise<void> {
    await this.params.buffer.reservation.hold((held) => {
      this.#listening = false;
      this.#gone = true;
      this.invalidate(held, "revoked");
    });
    await this.inFlight.drained();
    await this.umem.release();
  }

  async #faultIn(held: Held, options: WaitOptions | undefined): Promise<void> {
    if (this.#gone) throw new DmaBufError("EINVAL", "rdma.fault", "the region is deregistered");
    const slice = await this.umem.mapPages(held, options);
    if (this.translation !== undefined) return;
    try {
      this.params.onFault(this.program(slice, "EINVAL"));
    } catch (error) {
      this.umem.unmapPages(held);
      throw error;
    }
  }

  #ops(): ImporterOps {
    return {
      allowPeer2Peer: true,
      invalidateMappings: (_attachment, held) => {
        this.#zap(held);
      },
    };
  }

  /** Synchronous, under the reservation (rdma-umem R21). */
  #zap(held: Held): void {
    if (!this.#listening || !this.umem.mapped) return;
    this.invalidate(held, "zapped");
    this.umem.unmapPages(held);
  }
}
