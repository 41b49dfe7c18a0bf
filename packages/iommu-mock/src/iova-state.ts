import type { Iova, IovaState } from "@peerbar/core";

/** One reserved stretch of IOVA space (`struct dma_iova_state`) and what the DMA API knows about it. Nothing of it changes for the caller (dma-iova R7). */
export class ReservedIova implements IovaState {
  readonly address: Iova;
  readonly size: bigint;
  /** @internal Identity of the mapper that made it. */
  readonly owner: object;
  /** @internal Granules linked now. */
  linked = 0;
  /** @internal False after free or destroy. */
  live = true;

  /** @internal */
  constructor(address: Iova, size: bigint, owner: object) {
    this.address = address;
    this.size = size;
    this.owner = owner;
  }
}
