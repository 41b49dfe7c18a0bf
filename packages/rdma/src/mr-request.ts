import type { DmaBuf, WaitOptions } from "@peerbar/core";
import type { Pd } from "./pd.js";
import type { MrMode } from "./profile.js";

/** What a region shows, and under which address the device knows it. */
export interface MrRequest {
  /** Bytes from the start of the buffer. */
  readonly offset: bigint;
  /** Bytes. */
  readonly length: bigint;
  /** Address of the region's first byte in work requests; low 12 bits as in `offset` (rdma-umem R30). */
  readonly iova: bigint;
  /** `MrAccess` bits. */
  readonly access: number;
  /** The device's own way where absent. */
  readonly mode?: MrMode | undefined;
}

/** Another buffer slice under the same key: `IB_MR_REREG_TRANS`. */
export interface MrTranslation {
  readonly buffer: DmaBuf;
  /** Bytes from the start of the buffer. */
  readonly offset: bigint;
  /** Bytes. */
  readonly length: bigint;
  /** Address of the region's first byte in work requests; low 12 bits as in `offset` (rdma-umem R30). */
  readonly iova: bigint;
}

/** What {@link MemoryRegion.rereg} changes: at least one of them. */
export interface ReregRequest {
  /** Another domain of the same device. */
  readonly pd?: Pd | undefined;
  /** New `MrAccess` bits in place of the old; EINVAL on a revoked region, which stays dead (rdma-umem R29). */
  readonly access?: number | undefined;
  readonly translation?: MrTranslation | undefined;
}

/** Waits of a registration: for the reservation and for KERNEL fences. */
export type MrOptions = WaitOptions;
