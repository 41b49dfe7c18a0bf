import {
  type AddressSpace,
  type DmaAccess,
  DmaBufError,
  type InterconnectName,
  type Interconnects,
  type IommuMapping,
  type Iova,
  type Slice,
} from "@peerbar/core";
import type { DmaBufPages } from "./dma-buf-pages.js";

/** What an exporter handed over: the interconnect and what it carries. */
export interface Opened {
  readonly name: Exclude<InterconnectName, "sgt">;
  readonly what: Interconnects[Exclude<InterconnectName, "sgt">];
}

/** One stretch of IOVA space that shows a part of a buffer: the kernel's `struct iopt_area`. */
export class Area {
  readonly space: AddressSpace;
  readonly pages: DmaBufPages;
  /** The part of the buffer, in bytes. */
  readonly slice: Slice;
  readonly access: DmaAccess;
  readonly iova: Iova;
  /** Bytes. */
  readonly length: bigint;
  /** False once unmapped. */
  live = true;
  readonly #mapping: IommuMapping;

  /** @param mapping - made by `space` for exactly this stretch; the area owns it. */
  constructor(
    space: AddressSpace,
    pages: DmaBufPages,
    slice: Slice,
    access: DmaAccess,
    mapping: IommuMapping,
  ) {
    this.space = space;
    this.pages = pages;
    this.slice = slice;
    this.access = access;
    this.#mapping = mapping;
    this.iova = mapping.iova;
    this.length = mapping.length;
    // A copy of a revoked area is another revoked area, whatever the backend made of it (iommufd R16).
    if (pages.revoked) mapping.revoke();
    pages.areas.add(this);
  }

  /** IOVA of the last byte. */
  get last(): bigint {
    return this.iova + this.length - 1n;
  }

  get revoked(): boolean {
    return this.#mapping.revoked;
  }

  /** Takes the translations out of every domain; the IOVA stays occupied (iommufd R14, R16). */
  revoke(): void {
    this.#mapping.revoke();
  }

  /** Beyond Linux. @throws DmaBufError the backend's errno, EOPNOTSUPP where it has no way back; revoked still, at its IOVA. */
  restore({ name, what }: Opened): void {
    if (this.#mapping.restore === undefined) {
      throw new DmaBufError("EOPNOTSUPP", "iommufd.restore", "the backend's revoke is for good");
    }
    this.#mapping.restore(name, what);
  }

  /** @throws DmaBufError the backend's errno; still mapped then. */
  unmap(): void {
    this.space.unmap(this.iova, this.length);
    this.live = false;
    this.pages.areas.delete(this);
  }
}
