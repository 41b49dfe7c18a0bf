import {
  type DmaBuf,
  DmaBufError,
  type DmaDevice,
  type DmaEngine,
  type Held,
  hex,
  type ObjectWatch,
  type ScatterSlice,
  type Scheduler,
  type WaitOptions,
} from "@peerbar/core";
import { InFlight } from "./in-flight.js";
import { findBestPageSize } from "./page-size.js";
import type { ProviderProfile } from "./profile.js";
import { Translation } from "./translation.js";
import type { DmaBufUmem } from "./umem.js";

/** What a region's memory is made of. */
export interface BackingParams {
  /** Who maps and masters the bus. */
  readonly device: DmaDevice;
  readonly buffer: DmaBuf;
  readonly offset: bigint;
  readonly length: bigint;
  readonly iova: bigint;
  readonly access: number;
  readonly profile: ProviderProfile;
  /** Page sizes the device's table may use for this region, as a bitmap. */
  readonly pageSizes: bigint;
  readonly scheduler: Scheduler;
  /** The hardware's part of an invalidation, before the mapping goes. Must not throw. */
  readonly onInvalidate: (why: "revoked" | "zapped") => void;
  readonly onFault: (pageSize: bigint) => void;
}

/** The memory under a region's key and the hardware translation that leads to it. One class for each way to hold a buffer. */
export abstract class Backing {
  readonly params: BackingParams;
  readonly inFlight: InFlight;
  readonly engine: DmaEngine | undefined;
  /** The data path looks without the reservation. */
  readonly #watch: ObjectWatch | undefined;
  #translation: Translation | undefined;

  constructor(params: BackingParams) {
    this.params = params;
    this.engine = params.device.engine;
    this.#watch = params.scheduler.watch?.object(`${params.device.name}.mr`);
    this.inFlight = new InFlight(`${params.device.name}.mr`, params.scheduler);
  }

  abstract readonly umem: DmaBufUmem;

  /** What the hardware translates with now. */
  get translation(): Translation | undefined {
    this.#watch?.touch(false);
    return this.#translation;
  }

  /** Dead for good: no fault brings it back. */
  get revoked(): boolean {
    return this.umem.revoked;
  }

  /** Brings a missing translation back where this kind of region can. @throws DmaBufError EINVAL where it cannot, the exporter's errno. */
  abstract fault(options?: WaitOptions): Promise<void>;

  /** The exporter's or the device's end of it: translation, mapping, pin and attachment. Waits for the reservation and for DMA in flight. */
  abstract release(): Promise<void>;

  /** Programs the hardware and returns the page size, in bytes. @throws DmaBufError the profile's errno where no page size fits (rdma-umem R36). */
  protected program(slice: ScatterSlice, code: "EINVAL" | "EOPNOTSUPP"): bigint {
    const { offset, iova, length, profile, pageSizes } = this.params;
    const pageSize = findBestPageSize(slice, offset, iova, length, pageSizes);
    if (pageSize === 0n) {
      throw new DmaBufError(
        code,
        "rdma.regMr",
        `no page size of ${profile.name} fits iova ${hex(iova)} and these DMA addresses`,
        {
          hint: "choose an iova with more low bits in common with the DMA address",
          rule: "rdma-umem R36",
        },
      );
    }
    this.#watch?.touch(true);
    this.#translation = new Translation(slice, offset, pageSize);
    return pageSize;
  }

  /** Takes the translation out of the hardware; the exporter waits for what is in flight. */
  protected invalidate(held: Held, why: "revoked" | "zapped"): void {
    // Also where another path got here first: its DMA may still be out.
    this.inFlight.fenceOff(held);
    if (this.translation === undefined) return;
    this.#watch?.touch(true);
    this.#translation = undefined;
    this.params.onInvalidate(why);
  }
}
