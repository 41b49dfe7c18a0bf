import {
  type AddressSpace,
  agree,
  type DmaAccess,
  DmaBufError,
  type DmaDevice,
  dispose,
  type InterconnectName,
  type Interconnects,
  type IommuDomain,
  type IommuMapping,
  type Iova,
  type IovaRange,
  isDmaBufError,
  type MapRequest,
} from "@peerbar/core";
import { isKernelRevoked } from "../buffers/kernel-revoked.js";
import { explained } from "../explain.js";
import { attachPointOf } from "./attach-point.js";
import { domainCauses } from "./causes.js";
import type { IommufdCalls } from "./iommufd-file.js";
import { NativeDomain } from "./native-domain.js";
import { Tombstones } from "./tombstones.js";

const EVERYTHING = (1n << 64n) - 1n;

/** An IOAS of the running kernel. Every answer is the kernel's; what is kept here is who is attached, and what is mapped. */
export class NativeAddressSpace implements AddressSpace {
  readonly id: number;
  readonly #file: IommufdCalls;
  readonly #onDispose: (space: NativeAddressSpace) => void;
  readonly #domains = new Map<number, NativeDomain>();
  /** Devices whose file was closed before they were detached from a page table that is gone with them. */
  readonly #closed = new WeakSet<DmaDevice>();
  readonly #live = new Map<bigint, NativeMapping>();
  readonly #dead = new Tombstones();
  #open = true;

  /** @internal Made by `NativeIommu`. */
  constructor(file: IommufdCalls, onDispose: (space: NativeAddressSpace) => void) {
    this.#file = file;
    this.#onDispose = onDispose;
    this.id = file.allocIoas();
  }

  get alignment(): bigint {
    return this.#file.iovaSpace(this.id).alignment;
  }

  get ranges(): readonly IovaRange[] {
    return this.#file.iovaSpace(this.id).ranges;
  }

  get domains(): readonly IommuDomain[] {
    this.#sweep();
    return [...this.#domains.values()];
  }

  allow(ranges: readonly IovaRange[]): void {
    this.#file.allow(this.id, ranges);
  }

  allocDomain(device: DmaDevice): IommuDomain {
    this.#assertOpen("IOMMU_HWPT_ALLOC");
    const point = attachPointOf(device, this.#file, "IOMMU_HWPT_ALLOC");
    this.#sweep();
    return this.#enter(this.#file.allocHwpt(point.id, this.id), false);
  }

  freeDomain(domain: IommuDomain): void {
    this.#assertOpen("IOMMU_DESTROY");
    this.#sweep();
    if (this.#domains.get(domain.id) !== domain) {
      throw new DmaBufError("ENOENT", "IOMMU_DESTROY", `no page table ${String(domain.id)} here`, {
        rule: "iommufd R2",
      });
    }
    this.#file.destroy(domain.id);
    this.#domains.delete(domain.id);
  }

  /** A device that is attached elsewhere moves here (`iommufd_device_replace`); what translated for it alone is gone then. */
  attach(device: DmaDevice, domain?: IommuDomain): IommuDomain {
    this.#assertOpen("VFIO_DEVICE_ATTACH_IOMMUFD_PT");
    const point = attachPointOf(device, this.#file, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
    this.#sweep();
    if (domain !== undefined && this.#domains.get(domain.id) !== domain) {
      throw new DmaBufError(
        "EINVAL",
        "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
        `page table ${String(domain.id)} is not of address space ${String(this.id)}`,
        { rule: "iommufd R29" },
      );
    }
    const used = explained(() => point.attach(domain?.id ?? this.id), domainCauses);
    const joined = this.#domains.get(used) ?? this.#enter(used, true);
    joined.enter(device, point);
    this.#closed.delete(device);
    this.#sweep();
    return joined;
  }

  detach(device: DmaDevice): void {
    this.#assertOpen("VFIO_DEVICE_DETACH_IOMMUFD_PT");
    let left = this.#closed.delete(device);
    for (const domain of this.#domains.values()) left = domain.leave(device) || left;
    this.#sweep();
    if (left) return;
    throw new DmaBufError(
      "EINVAL",
      "VFIO_DEVICE_DETACH_IOMMUFD_PT",
      `${device.name} is not attached here`,
    );
  }

  map<N extends InterconnectName>(
    name: N,
    what: Interconnects[N],
    request: MapRequest,
  ): IommuMapping {
    this.#assertOpen("IOMMU_IOAS_MAP_FILE");
    agree(["fd"], [name], "IOMMU_IOAS_MAP_FILE");
    const fd = what as number;
    const { slice, iova, access } = request;
    if (iova !== undefined) this.#dead.assertFree(iova, slice.length, "IOMMU_IOAS_MAP_FILE");
    const place = (): Iova => this.#file.mapFile({ ioas: this.id, fd, slice, iova, access });
    return this.#keep(this.#avoidingDead(place, slice.length), slice.length, isKernelRevoked(fd));
  }

  copy(
    source: AddressSpace,
    sourceIova: Iova,
    length: bigint,
    request: { readonly iova?: Iova | undefined; readonly access: DmaAccess },
  ): IommuMapping {
    this.#assertOpen("IOMMU_IOAS_COPY");
    if (!(source instanceof NativeAddressSpace) || source.#file !== this.#file) {
      throw new DmaBufError("EINVAL", "IOMMU_IOAS_COPY", "the source is of another iommufd", {
        rule: "iommufd R2",
      });
    }
    if (request.iova !== undefined) this.#dead.assertFree(request.iova, length, "IOMMU_IOAS_COPY");
    const from = { ioas: source.id, slice: { offset: sourceIova, length } };
    const place = (): Iova => this.#file.copy(this.id, from, request);
    const at = this.#avoidingDead(place, length);
    return this.#keep(at, length, source.#isKernelRevoked(sourceIova, length));
  }

  unmap(iova: Iova, length: bigint): bigint {
    this.#assertOpen("IOMMU_IOAS_UNMAP");
    const dead = this.#dead.size === 0 ? 0n : this.#dead.take(iova, length, "IOMMU_IOAS_UNMAP");
    let live = 0n;
    try {
      live = this.#file.unmap(this.id, iova, length);
    } catch (error) {
      const isHole = isDmaBufError(error) && error.code === "ENOENT";
      if (dead === 0n || !isHole || this.#meeting(iova, length).length > 0) throw error;
    } finally {
      this.#forget(iova, length);
    }
    return live + dead;
  }

  unmapAll(): bigint {
    this.#assertOpen("IOMMU_IOAS_UNMAP");
    const dead = this.#dead.take(0n, EVERYTHING, "IOMMU_IOAS_UNMAP");
    const live = this.#file.unmap(this.id, 0n, EVERYTHING);
    this.#live.clear();
    return live + dead;
  }

  /** Detaches every device, unmaps everything, destroys page tables and address space. Twice is harmless. */
  [dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    for (const domain of [...this.#domains.values()]) {
      domain.leaveAll();
      if (!domain.automatic) this.#file.destroy(domain.id);
    }
    this.#domains.clear();
    this.#file.unmap(this.id, 0n, EVERYTHING);
    this.#file.destroy(this.id);
    this.#onDispose(this);
  }

  /** @internal The mapping was revoked by somebody whom the kernel does not know: its translations go now (iommufd R14, R19). */
  takeOut(mapping: NativeMapping): void {
    if (this.#live.get(mapping.iova) !== mapping) return;
    this.#file.unmap(this.id, mapping.iova, mapping.length);
    this.#live.delete(mapping.iova);
    this.#dead.add(mapping.iova, mapping.length);
  }

  #assertOpen(syscall: string): void {
    if (this.#open) return;
    throw new DmaBufError("EBADF", syscall, `address space ${String(this.id)} is closed`);
  }

  #enter(id: number, automatic: boolean): NativeDomain {
    const domain = new NativeDomain(id, automatic);
    this.#domains.set(id, domain);
    return domain;
  }

  /** Takes out what the kernel has destroyed behind our back: the next object may have its id. */
  #sweep(): void {
    for (const domain of [...this.#domains.values()]) {
      if (!domain.dead) continue;
      for (const device of domain.closed) this.#closed.add(device);
      this.#domains.delete(domain.id);
    }
  }

  #keep(iova: Iova, length: bigint, kernelRevoked: boolean): NativeMapping {
    const mapping = new NativeMapping(this, iova, length, kernelRevoked);
    this.#live.set(iova, mapping);
    return mapping;
  }

  /** The kernel chooses again where it chose an IOVA that a revoked mapping occupies; its choices are held until one is free. */
  #avoidingDead(place: () => Iova, length: bigint): Iova {
    const held: Iova[] = [];
    try {
      for (;;) {
        const at = place();
        if (!this.#dead.covers(at, length)) return at;
        held.push(at);
      }
    } finally {
      for (const at of held) this.#file.unmap(this.id, at, length);
    }
  }

  #isKernelRevoked(iova: Iova, length: bigint): boolean {
    return this.#meeting(iova, length).every(({ kernelRevoked }) => kernelRevoked);
  }

  /** Live mappings with a byte of that range. */
  #meeting(iova: bigint, length: bigint): NativeMapping[] {
    return [...this.#live.values()].filter(
      (mapping) => mapping.iova < iova + length && iova < mapping.iova + mapping.length,
    );
  }

  /** What lies wholly inside is unmapped, also where the kernel stopped at a part (iommufd R23). */
  #forget(iova: bigint, length: bigint): void {
    if (this.#live.get(iova)?.length === length) {
      this.#live.delete(iova);
      return;
    }
    const isInside = (mapping: NativeMapping): boolean =>
      mapping.iova >= iova && mapping.iova + mapping.length <= iova + length;
    const meeting = this.#meeting(iova, length);
    const partial = meeting.find((mapping) => !isInside(mapping));
    for (const mapping of meeting) {
      if (isInside(mapping) && (partial === undefined || mapping.iova < partial.iova)) {
        this.#live.delete(mapping.iova);
      }
    }
  }
}

/** One mapped area of an IOAS. */
class NativeMapping implements IommuMapping {
  readonly iova: Iova;
  readonly length: bigint;
  /** The exporter's revoke ends it inside the kernel. */
  readonly kernelRevoked: boolean;
  readonly #space: NativeAddressSpace;
  #revoked = false;

  constructor(space: NativeAddressSpace, iova: Iova, length: bigint, kernelRevoked: boolean) {
    this.#space = space;
    this.iova = iova;
    this.length = length;
    this.kernelRevoked = kernelRevoked;
  }

  get revoked(): boolean {
    return this.#revoked;
  }

  /**
   * Buffers of vfio-pci: recorded alone, for the kernel itself takes the translations out, in the call that made the exporter revoke
   * (iommufd R14). All others are taken out of the kernel here.
   */
  revoke(): void {
    if (this.#revoked) return;
    this.#revoked = true;
    if (!this.kernelRevoked) this.#space.takeOut(this);
  }
}
