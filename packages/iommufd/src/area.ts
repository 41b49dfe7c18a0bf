import type {
  AddressSpace,
  DmaAccess,
  InterconnectName,
  Interconnects,
  IommuMapping,
  Iova,
  Slice,
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
  /** Undefined after a {@link restore} that failed halfway: nothing is left in the backend. */
  #mapping: IommuMapping | undefined;

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
    return this.#mapping?.revoked ?? true;
  }

  /** Takes the translations out of every domain; the IOVA stays occupied (iommufd R14, R16). */
  revoke(): void {
    this.#mapping?.revoke();
  }

  /** Beyond Linux: maps at the same IOVA again. @throws DmaBufError the backend's errno; nothing is mapped then. */
  restore({ name, what }: Opened): void {
    this.#drop();
    const request = { slice: this.slice, iova: this.iova, access: this.access };
    this.#mapping = this.space.map(name, what, request);
  }

  /** @throws DmaBufError the backend's errno; still mapped then. */
  unmap(): void {
    this.#drop();
    this.live = false;
    this.pages.areas.delete(this);
  }

  #drop(): void {
    if (this.#mapping !== undefined) this.space.unmap(this.iova, this.length);
    this.#mapping = undefined;
  }
}
