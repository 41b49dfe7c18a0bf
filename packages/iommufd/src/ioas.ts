import {
  type AddressSpace,
  asyncDispose,
  Closing,
  type DmaAccess,
  type DmaBuf,
  DmaBufError,
  type DmaDevice,
  dispose,
  hex,
  type Iova,
  type IovaRange,
  type MapRequest,
  type WaitOptions,
} from "@peerbar/core";
import { IommufdAccess } from "./access.js";
import { Area, type Opened } from "./area.js";
import { AreaList } from "./area-list.js";
import { copyAreas } from "./copy.js";
import { DeviceAttachments } from "./device-attachments.js";
import { DmaBufPages, type ImporterContext } from "./dma-buf-pages.js";
import type { Hwpt } from "./hwpt.js";
import { IoasMapping } from "./mapping.js";
import type { IommufdObject, ObjectTable } from "./object-table.js";
import { checkRequest, checkSlice, checkSpan, ULONG_MAX, writes } from "./range.js";

/** What an address space shares with its iommufd. */
export interface IoasOwner {
  readonly objects: ObjectTable;
  /** Which page table each device is attached to, over all address spaces. */
  readonly hwpts: Map<DmaDevice, Hwpt>;
  bind(device: DmaDevice): unknown;
}

/** `hwptFlags` of IOMMU_HWPT_ALLOC (include/uapi/linux/iommufd.h). */
export interface AllocHwptOptions {
  /** IOMMU_HWPT_ALLOC_*: NEST_PARENT 1, DIRTY_TRACKING 2, FAULT_ID_VALID 4, PASID 8. No backend carries any of them yet. */
  readonly flags?: number;
}

/**
 * An I/O address space (`IOMMU_IOAS_ALLOC`): dma-bufs mapped into IOVAs, in every domain of the devices attached.
 * iommufd asks nobody whether a peer is reachable: that is the platform's problem (iommufd R30).
 */
export class Ioas implements IommufdObject, AsyncDisposable {
  readonly type = "ioas";
  readonly id: number;
  /** The backend's address space. Map and unmap through this object, or areas and translations part ways. */
  readonly space: AddressSpace;
  readonly #context: ImporterContext;
  readonly #owner: IoasOwner;
  readonly #areas = new AreaList();
  readonly #devices: DeviceAttachments;
  readonly #accesses = new Set<IommufdAccess>();
  /** Buffers without areas that are not let go yet. */
  readonly #leaving = new Set<DmaBufPages>();
  /** Maps and unmaps under way: a call holds the object it is about (`iommufd_get_ioas`). */
  #calls = 0;
  readonly #closing = new Closing();

  /** @internal Made by {@link Iommufd.allocIoas}. */
  constructor(id: number, space: AddressSpace, context: ImporterContext, owner: IoasOwner) {
    this.id = id;
    this.space = space;
    this.#context = context;
    this.#owner = owner;
    this.#devices = new DeviceAttachments(this, owner);
  }

  /** Smallest unit of IOVA and length, in bytes: the strictest of the domains (iommufd R4). */
  get alignment(): bigint {
    return this.space.alignment;
  }

  /** `IOMMU_IOAS_IOVA_RANGES`: the holes of the reserved ranges (iommufd R4). */
  get ranges(): readonly IovaRange[] {
    return this.space.ranges;
  }

  get hwpts(): Iterable<Hwpt> {
    return this.#devices.hwpts;
  }

  /** Mapped areas, revoked ones included. */
  get areaCount(): number {
    this.#context.watch?.touch(false);
    return this.#areas.size;
  }

  /** `IOMMU_IOAS_ALLOW_IOVAS`: steers automatic choice only. @throws DmaBufError EADDRINUSE over a reserved range; the old set stays (iommufd R5). */
  allow(ranges: readonly IovaRange[]): void {
    this.#assertOpen("iommufd.allow");
    this.space.allow(ranges);
  }

  /**
   * From now on the device's DMA is translated here: by `hwpt`, or by the first automatic page table that fits, else a new one (iommufd R26).
   * A device attached already moves, as with VFIO_DEVICE_ATTACH_IOMMUFD_PT; without `hwpt` also out of a page table that {@link allocHwpt} made.
   *
   * @throws DmaBufError EINVAL for a page table of another address space, EADDRINUSE where areas are in the device's way (iommufd R27, R28).
   */
  attach(device: DmaDevice, hwpt?: Hwpt): Hwpt {
    this.#assertOpen("iommufd.attach");
    return this.#devices.attach(device, hwpt);
  }

  /** Moves a device here from wherever it is attached; it stays there where this fails. @throws DmaBufError EINVAL where it is not attached; as {@link attach}. */
  replace(device: DmaDevice, hwpt?: Hwpt): Hwpt {
    this.#assertOpen("iommufd.replace");
    return this.#devices.replace(device, hwpt);
  }

  /** @throws DmaBufError EINVAL where it is not attached here. */
  detach(device: DmaDevice): void {
    this.#assertOpen("iommufd.detach");
    this.#devices.detach(device);
  }

  /** `IOMMU_HWPT_ALLOC`: a page table for that device, filled with every area but the revoked ones (iommufd R17, R29). @throws DmaBufError EOPNOTSUPP for flags. */
  allocHwpt(device: DmaDevice, options: AllocHwptOptions = {}): Hwpt {
    this.#assertOpen("iommufd.allocHwpt");
    const flags = options.flags ?? 0;
    if (flags !== 0) {
      throw new DmaBufError("EOPNOTSUPP", "iommufd.allocHwpt", `flags ${hex(flags)}`, {
        rule: "iommufd R29",
      });
    }
    return this.#devices.allocHwpt(device);
  }

  /** @internal {@link Hwpt.free}. */
  freeHwpt(hwpt: Hwpt): void {
    this.#context.watch?.touch(true);
    this.#devices.freeHwpt(hwpt);
  }

  /** @internal A device of that page table was moved away by another address space, or to another page table. */
  left(device: DmaDevice, hwpt: Hwpt): void {
    this.#devices.left(device, hwpt);
  }

  /** An in-kernel user of this address space. The caller closes it. */
  createAccess(): IommufdAccess {
    this.#assertOpen("iommufd.createAccess");
    const { objects } = this.#owner;
    const access = objects.add(
      (id) =>
        new IommufdAccess(id, this.#areas, (closed) => {
          this.#accesses.delete(closed);
          objects.remove(closed);
        }),
    );
    this.#accesses.add(access);
    return access;
  }

  /**
   * `IOMMU_IOAS_MAP_FILE` of a dma-buf: attaches as a pinned, revocable importer, asks for the memory and shows `slice` at an IOVA. Each
   * call attaches anew (iommufd R9). The mapping holds a reference to the buffer (R12) and outlives a revoke, dead (R15, R16).
   *
   * @throws DmaBufError in the order iommufd M2 to M20: EOVERFLOW, EINVAL, EBADF, the exporter's errno (ENODEV while revoked), EOPNOTSUPP,
   *   EEXIST, ENOSPC; EINTR where `options.signal` ends the wait for the reservation. Everything is undone.
   */
  async mapDmaBuf(
    buffer: DmaBuf,
    request: MapRequest,
    options?: WaitOptions,
  ): Promise<IoasMapping> {
    this.#assertOpen("iommufd.map");
    checkRequest(request, "iommufd.map");
    const { slice, access } = request;
    const reference = buffer.get();
    try {
      checkSlice(slice, buffer.size, "iommufd.map");
    } catch (error) {
      reference.put();
      throw error;
    }
    const importing = DmaBufPages.import(
      this.#context,
      reference,
      writes(access),
      slice,
      (pages, opened) => this.#insert(pages, opened, request),
      options,
    );
    const pending = this.#context.importing;
    pending.add(importing);
    this.#calls += 1;
    try {
      return this.#mapping([await importing]);
    } finally {
      this.#context.watch?.touch(true);
      this.#calls -= 1;
      pending.delete(importing);
    }
  }

  /**
   * `IOMMU_IOAS_COPY`: shows here what `source` has at `sourceIova`, sharing its attachment (iommufd R9). A revoked area gives another
   * revoked one (R16).
   *
   * @throws DmaBufError EOVERFLOW, EINVAL, ENOENT for a hole in the source; EPERM where writes are asked of a read-only import; as M16 to M20
   *   (iommufd R24).
   */
  copy(
    source: Ioas,
    sourceIova: Iova,
    length: bigint,
    request: { readonly iova?: Iova | undefined; readonly access: DmaAccess },
  ): IoasMapping {
    this.#assertOpen("iommufd.copy");
    source.#assertOpen("iommufd.copy");
    const areas = copyAreas({ space: source.space, areas: source.#areas }, this.space, {
      sourceIova,
      length,
      iova: request.iova,
      access: request.access,
    });
    for (const area of areas) this.#enter(area);
    return this.#mapping(areas);
  }

  /**
   * `IOMMU_IOAS_UNMAP`: returns the bytes unmapped, revoked areas included (iommufd R16). `(0, 2^64-1)` is everything. Waits for the
   * reservation of every buffer whose last area goes.
   *
   * @throws DmaBufError EOVERFLOW, EINVAL for length 0, ENOENT where nothing is mapped or an area is only partly inside; areas before that
   *   one stay unmapped (iommufd R23).
   */
  async unmap(iova: Iova, length: bigint): Promise<bigint> {
    this.#assertOpen("iommufd.unmap");
    if (iova === 0n && length === ULONG_MAX) return this.unmapAll();
    checkSpan(iova, length, "iommufd R23", "iommufd.unmap");
    if (length === 0n) {
      throw new DmaBufError("EINVAL", "iommufd.unmap", "a length of 0 bytes", {
        rule: "iommufd R23",
      });
    }
    const last = iova + length - 1n;
    if (last > ULONG_MAX) {
      throw new DmaBufError("EOVERFLOW", "iommufd.unmap", `${hex(iova)} + ${hex(length)} wraps`, {
        rule: "iommufd R23",
      });
    }
    const inside: Area[] = [];
    let partial: Area | undefined;
    for (const area of this.#areas.within(iova, last)) {
      if (area.iova < iova || area.last > last) {
        partial = area;
        break;
      }
      inside.push(area);
    }
    const bytes = await this.#unmapAreas(inside);
    if (partial !== undefined || inside.length === 0) {
      throw notWhole(iova, last, partial, bytes);
    }
    return bytes;
  }

  /** Everything; 0 where nothing is mapped (iommufd R23). */
  async unmapAll(): Promise<bigint> {
    this.#assertOpen("iommufd.unmap");
    return this.#unmapAreas([...this.#areas]);
  }

  /**
   * `IOMMU_DESTROY` of the address space.
   *
   * @throws DmaBufError EBUSY while page tables, accesses, or maps and unmaps under way use it (iommufd R2); {@link close} ends those too.
   */
  async destroy(): Promise<void> {
    this.#context.watch?.touch(true);
    if (this.#closing.begun) {
      await this.close();
      return;
    }
    const users = this.#devices.size + this.#accesses.size + this.#calls;
    if (users > 0) {
      throw new DmaBufError("EBUSY", "iommufd.destroy", `ioas ${this.id} has ${users} users`, {
        hint: "detach the devices, free the page tables, close the accesses and wait for maps and unmaps, or call close()",
        rule: "iommufd R2",
      });
    }
    await this.close();
  }

  /**
   * What closing /dev/iommu does to one address space: ends accesses, detaches devices, unmaps everything and waits until every buffer is
   * let go. A map under way finds it closed when its turn comes; {@link Iommufd.close} waits for that too. Closing twice is harmless; after a
   * failure it goes on from there.
   */
  close(): Promise<void> {
    this.#context.watch?.touch(true);
    return this.#closing.run(async () => {
      for (const access of [...this.#accesses]) access.close();
      this.#devices.close();
      await this.#unmapAreas([...this.#areas]);
      this.space[dispose]();
      // Those of unmaps under way, and of unmaps whose exporter threw.
      await Promise.all([...this.#leaving].map((pages) => this.#release(pages)));
      this.#owner.objects.remove(this);
    });
  }

  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Runs under the buffer's reservation, after whatever may have happened while it was waited for. */
  #insert(pages: DmaBufPages, { name, what }: Opened, request: MapRequest): Area {
    this.#assertOpen("iommufd.map");
    const mapping = this.space.map(name, what, request);
    const area = new Area(this.space, pages, request.slice, request.access, mapping);
    this.#enter(area);
    return area;
  }

  #enter(area: Area): void {
    this.#areas.insert(area);
    this.#context.events?.emit({
      type: "iommufd-map",
      buffer: area.pages.buffer.label,
      ioas: this.id,
      iova: area.iova,
      length: area.length,
    });
  }

  #mapping(areas: readonly Area[]): IoasMapping {
    return new IoasMapping(areas, (live) => this.#unmapAreas(live));
  }

  /** Translations and IOVAs go at once; then each buffer without areas is released, which waits for its reservation (iommufd R21). */
  async #unmapAreas(areas: readonly Area[]): Promise<bigint> {
    this.#context.watch?.touch(true);
    let bytes = 0n;
    const releases: Promise<void>[] = [];
    this.#calls += 1;
    try {
      for (const area of areas) {
        if (!area.live) continue;
        area.unmap();
        this.#areas.remove(area);
        bytes += area.length;
        this.#context.events?.emit({
          type: "iommufd-unmap",
          ioas: this.id,
          iova: area.iova,
          length: area.length,
        });
        if (area.pages.areas.size === 0) releases.push(this.#release(area.pages));
      }
    } finally {
      await Promise.all(releases).finally(() => {
        this.#context.watch?.touch(true);
        this.#calls -= 1;
      });
    }
    return bytes;
  }

  async #release(pages: DmaBufPages): Promise<void> {
    this.#leaving.add(pages);
    await pages.release();
    // Closing waits for it.
    this.#context.watch?.touch(true);
    this.#leaving.delete(pages);
  }

  /** Every entry: what follows uses areas, page tables and ids. */
  #assertOpen(syscall: string): void {
    this.#context.watch?.touch(true);
    if (!this.#closing.begun) return;
    throw new DmaBufError("EBADF", syscall, `ioas ${this.id} is closed`);
  }
}

function notWhole(iova: Iova, last: bigint, partial: Area | undefined, bytes: bigint): DmaBufError {
  const found =
    partial === undefined
      ? `nothing is mapped in [${hex(iova)}, ${hex(last)}]`
      : `[${hex(partial.iova)}, ${hex(partial.last)}] is only partly inside [${hex(iova)}, ${hex(last)}]; ${hex(bytes)} bytes before it were unmapped`;
  return new DmaBufError("ENOENT", "iommufd.unmap", found, {
    hint: "unmap whole mappings",
    rule: "iommufd R23",
  });
}
