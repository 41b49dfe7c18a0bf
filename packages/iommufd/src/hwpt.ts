import type { DmaDevice, IommuDomain } from "@peerbar/core";
import type { Ioas } from "./ioas.js";
import type { IommufdObject } from "./object-table.js";

/**
 * A hardware page table: one domain of an address space, as an object with an id and a lifetime (`IOMMU_HWPT_ALLOC`).
 * Automatic ones end with their last device; others with {@link Hwpt.free}.
 */
export class Hwpt implements IommufdObject {
  readonly type = "hwpt";
  readonly id: number;
  readonly ioas: Ioas;
  /** Made by an attach, not by allocHwpt (iommufd R26). */
  readonly automatic: boolean;
  readonly domain: IommuDomain;
  /** @internal */
  readonly attached = new Set<DmaDevice>();

  /** @internal Made by {@link Ioas}. */
  constructor(id: number, ioas: Ioas, domain: IommuDomain, automatic: boolean) {
    this.id = id;
    this.ioas = ioas;
    this.domain = domain;
    this.automatic = automatic;
  }

  /** Names of the devices attached now. */
  get devices(): readonly string[] {
    return [...this.attached].map((device) => device.name);
  }

  /**
   * `IOMMU_DESTROY` of the page table. Revoked areas are not unmapped again (iommufd R18). Freeing twice is harmless.
   *
   * @throws DmaBufError EBUSY while devices are attached.
   */
  free(): void {
    this.ioas.freeHwpt(this);
  }
}
