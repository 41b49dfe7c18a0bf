import {
  type DmaAccess,
  DmaBufError,
  type Iova,
  type IovaRange,
  iova,
  type Slice,
} from "@peerbar/core";
import { addressOf, close, ioctl, ioctlStruct, iommufd, open } from "@peerbar/linux";
import { explained } from "../explain.js";
import {
  copyCauses,
  domainCauses,
  type MapFileRequest,
  mapFileCauses,
  unmapCauses,
} from "./causes.js";

const RANGE = iommufd.iommu_iova_range.size;

const permissions: Readonly<Record<DmaAccess, number>> = {
  r: iommufd.IOMMU_IOAS_MAP_READABLE,
  w: iommufd.IOMMU_IOAS_MAP_WRITEABLE,
  rw: iommufd.IOMMU_IOAS_MAP_READABLE | iommufd.IOMMU_IOAS_MAP_WRITEABLE,
};

/** `IOMMU_IOAS_IOVA_RANGES`: what is usable, and in which units. */
export interface IovaSpace {
  readonly ranges: readonly IovaRange[];
  /** Bytes. */
  readonly alignment: bigint;
}

/** What address spaces ask of an iommufd. */
export type IommufdCalls = Pick<
  IommufdFile,
  "allocIoas" | "allocHwpt" | "allow" | "copy" | "destroy" | "iovaSpace" | "mapFile" | "unmap"
>;

/** One open /dev/iommu: its ioctls, one method each, with the kernel's errno and the rule behind it. */
export class IommufdFile {
  readonly #fd: number;
  #open = true;

  /** @throws DmaBufError ENOENT without iommufd in the kernel; EACCES. */
  constructor() {
    this.#fd = open("/dev/iommu");
  }

  /** @throws DmaBufError EBADF once closed: the number may be another file's by then. */
  get fd(): number {
    if (this.#open) return this.#fd;
    throw new DmaBufError("EBADF", "iommufd", "this /dev/iommu is closed");
  }

  /** `IOMMU_IOAS_ALLOC`: id of a new address space. */
  allocIoas(): number {
    return ioctlStruct(this.fd, iommufd.IOMMU_IOAS_ALLOC).out.out_ioas_id;
  }

  /** `IOMMU_DESTROY`. @throws DmaBufError EBUSY in use, ENOENT unknown (iommufd R2). */
  destroy(id: number): void {
    explained(() => ioctlStruct(this.fd, iommufd.IOMMU_DESTROY, { id }), domainCauses);
  }

  /** `IOMMU_IOAS_IOVA_RANGES` (iommufd R4). */
  iovaSpace(ioas: number): IovaSpace {
    // Asked with too little room the kernel says how much it takes; devices coming in between may add to it.
    for (let room = 8; ; ) {
      const answer = this.#iovaRanges(ioas, room);
      if (typeof answer !== "number") return answer;
      room = answer;
    }
  }

  /** `IOMMU_IOAS_ALLOW_IOVAS` (iommufd R5). @throws DmaBufError EADDRINUSE over a reserved range. */
  allow(ioas: number, ranges: readonly IovaRange[]): void {
    const list = new Uint8Array(Math.max(1, ranges.length) * RANGE);
    for (const [index, { first, last }] of ranges.entries()) {
      iommufd.iommu_iova_range.encode({ start: first, last }, list.subarray(index * RANGE));
    }
    explained(
      () =>
        ioctlStruct(this.fd, iommufd.IOMMU_IOAS_ALLOW_IOVAS, {
          ioas_id: ioas,
          num_iovas: ranges.length,
          allowed_iovas: addressOf(list),
        }),
      () => ({
        EADDRINUSE: {
          reason: "a range overlaps a reserved one",
          hint: "see the usable ranges of the address space",
          rule: "iommufd R5",
        },
      }),
    );
  }

  /** `IOMMU_IOAS_MAP_FILE`: a part of a dma-buf or memfd (iommufd M1 to M20). */
  mapFile(request: MapFileRequest): Iova {
    const { fd, slice, ioas, iova: fixed, access } = request;
    const { out } = explained(
      () =>
        ioctlStruct(this.fd, iommufd.IOMMU_IOAS_MAP_FILE, {
          flags: placement(fixed) | permissions[access],
          ioas_id: ioas,
          fd,
          start: slice.offset,
          length: slice.length,
          iova: fixed ?? 0n,
        }),
      () => mapFileCauses(request, () => this.iovaSpace(ioas)),
    );
    return iova(out.iova);
  }

  /** `IOMMU_IOAS_COPY` (iommufd R24). */
  copy(
    target: number,
    source: { readonly ioas: number; readonly slice: Slice },
    request: { readonly iova?: Iova | undefined; readonly access: DmaAccess },
  ): Iova {
    const { out } = explained(
      () =>
        ioctlStruct(this.fd, iommufd.IOMMU_IOAS_COPY, {
          flags: placement(request.iova) | permissions[request.access],
          dst_ioas_id: target,
          src_ioas_id: source.ioas,
          length: source.slice.length,
          dst_iova: request.iova ?? 0n,
          src_iova: source.slice.offset,
        }),
      copyCauses,
    );
    return iova(out.dst_iova);
  }

  /** `IOMMU_IOAS_UNMAP`: bytes unmapped (iommufd R23). */
  unmap(ioas: number, at: bigint, length: bigint): bigint {
    const { out } = explained(
      () => ioctlStruct(this.fd, iommufd.IOMMU_IOAS_UNMAP, { ioas_id: ioas, iova: at, length }),
      unmapCauses,
    );
    return out.length;
  }

  /** `IOMMU_HWPT_ALLOC`: id of a new page table for that device (iommufd R29). */
  allocHwpt(device: number, ioas: number): number {
    const { out } = explained(
      () => ioctlStruct(this.fd, iommufd.IOMMU_HWPT_ALLOC, { dev_id: device, pt_id: ioas }),
      domainCauses,
    );
    return out.out_hwpt_id;
  }

  /** Ends every object of this file. Twice is harmless. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    close(this.#fd);
  }

  /** The ranges, or how many there are where `room` is too little (EMSGSIZE, iommufd R4). */
  #iovaRanges(ioas: number, room: number): IovaSpace | number {
    const request = iommufd.IOMMU_IOAS_IOVA_RANGES;
    const list = new Uint8Array(room * RANGE);
    const bytes = request.struct.encode({
      ioas_id: ioas,
      num_iovas: room,
      allowed_iovas: addressOf(list),
    });
    try {
      ioctl(this.fd, request, bytes);
    } catch (error) {
      const { num_iovas } = request.struct.decode(bytes);
      if (error instanceof DmaBufError && error.code === "EMSGSIZE" && num_iovas > room) {
        return num_iovas;
      }
      throw error;
    }
    const { num_iovas, out_iova_alignment } = request.struct.decode(bytes);
    const ranges = Array.from({ length: num_iovas }, (_, index): IovaRange => {
      const { start, last } = iommufd.iommu_iova_range.decode(list.subarray(index * RANGE));
      return { first: iova(start), last: iova(last) };
    });
    return { ranges, alignment: out_iova_alignment };
  }
}

function placement(fixed: Iova | undefined): number {
  return fixed === undefined ? 0 : iommufd.IOMMU_IOAS_MAP_FIXED_IOVA;
}
