import type { Iova, Slice } from "./address.js";
import type { DmaDevice, DmaMapper } from "./dma-device.js";
import type { InterconnectName, Interconnects } from "./interconnect.js";

/** Permissions of a mapping, as the device sees them. */
export type DmaAccess = "r" | "w" | "rw";

/** What to map into an address space, and how. */
export interface MapRequest {
  /** Part of the buffer, in bytes. */
  readonly slice: Slice;
  /** Where to map; undefined: the address space chooses (iommufd R6). */
  readonly iova?: Iova | undefined;
  readonly access: DmaAccess;
}

/** First and last IOVA of a stretch, both included. */
export interface IovaRange {
  /** First IOVA, in bytes. */
  readonly first: Iova;
  /** Last IOVA, included, in bytes. */
  readonly last: Iova;
}

/** One mapped area of an address space. */
export interface IommuMapping {
  /** First IOVA of the area, in bytes. */
  readonly iova: Iova;
  /** Bytes. */
  readonly length: bigint;
  readonly revoked: boolean;
  /**
   * The exporter took the memory back: removes the translations from every domain at once, keeps the IOVA occupied, and leaves later
   * domains unfilled (iommufd R14, R16, R17). Never fails, never waits; a second call does nothing. Copies share the memory (R9) and may
   * end with it: whoever keeps account of the memory, as iommufd does, revokes each.
   */
  revoke(): void;
  /**
   * Beyond Linux: ends a revoke with what the exporter hands over now, which must be of the same length: fills every domain again. Copies
   * that share the memory may come back together. Absent: a revoke is for good. Does nothing where it is not revoked.
   *
   * @throws DmaBufError the errno of {@link AddressSpace.map}; the mapping stays revoked and its IOVA occupied.
   */
  restore?<N extends InterconnectName>(name: N, what: Interconnects[N]): void;
}

/** A page table that devices are attached to (`IOMMU_HWPT_ALLOC`). */
export interface IommuDomain {
  /** Unique in its address space. */
  readonly id: number;
  /** Names of the devices attached now. */
  readonly devices: readonly string[];
}

/**
 * An I/O address space: IOVAs, the areas mapped into them, and the domains that carry those areas (`IOMMU_IOAS_ALLOC`).
 * Every area is in every domain. Disposing unmaps everything and detaches all devices.
 */
export interface AddressSpace extends Disposable {
  /** Unique in its backend. */
  readonly id: number;
  /** Smallest unit of IOVA and length, in bytes (iommufd R4). */
  readonly alignment: bigint;
  /** Usable ranges: holes of the reserved ones (iommufd R4). */
  readonly ranges: readonly IovaRange[];
  readonly domains: readonly IommuDomain[];
  /** Steers automatic choice only (iommufd R5). @throws DmaBufError EADDRINUSE over a reserved range; the old set stays. */
  allow(ranges: readonly IovaRange[]): void;
  /**
   * Makes a domain for that device and fills it with every area (iommufd R26).
   *
   * @throws DmaBufError ENODEV where the device is not behind this IOMMU, EADDRINUSE where an area or an allowed range is beyond what the
   *   device's page table can hold, ENOMEM for the page table.
   */
  allocDomain(device: DmaDevice): IommuDomain;
  /**
   * Ends a domain made by {@link allocDomain}; the areas stay in the others, and revoked ones are not unmapped again (iommufd R18).
   * A domain that `attach` made itself ends with its last device.
   *
   * @throws DmaBufError EBUSY while devices are attached to it, ENOENT where it is not of this address space.
   */
  freeDomain(domain: IommuDomain): void;
  /**
   * From now on the device's DMA is translated here, by the given domain, or else by the first automatic one that fits, made where there is
   * none (iommufd R26, R28): what {@link allocDomain} made is used where it is given. A device that is attached elsewhere, in another domain or another address space of this backend, moves, and an automatic domain it was the last of ends. Where this
   * throws it stays where it was.
   *
   * @throws DmaBufError ENODEV where the device is not behind this IOMMU, EADDRINUSE where its reserved regions, or what its page table can
   *   hold, cross a mapping or an allowed range (iommufd R28), EINVAL for a domain that its IOMMU unit cannot walk, ENOENT for one that is
   *   not of this address space, ENOMEM.
   */
  attach(device: DmaDevice, domain?: IommuDomain): IommuDomain;
  /** The device's DMA is no longer translated here. @throws DmaBufError where it was not attached. */
  detach(device: DmaDevice): void;
  /**
   * @throws DmaBufError EINVAL misaligned or reserved, EEXIST occupied, ENOSPC no room, EOVERFLOW wrapping (iommufd M16 to M20);
   *   everything unwound.
   */
  map<N extends InterconnectName>(
    name: N,
    what: Interconnects[N],
    request: MapRequest,
  ): IommuMapping;
  /**
   * Maps the same memory here that `source` has at `sourceIova` (`IOMMU_IOAS_COPY`, iommufd R24). Lengths are bytes.
   *
   * @throws DmaBufError ENOENT where `source` has no area there that is long enough; else as {@link map}.
   */
  copy(
    source: AddressSpace,
    sourceIova: Iova,
    length: bigint,
    request: { readonly iova?: Iova | undefined; readonly access: DmaAccess },
  ): IommuMapping;
  /** Bytes unmapped. @throws DmaBufError ENOENT for a hole or a part of an area (iommufd R23). */
  unmap(iova: Iova, length: bigint): bigint;
  /** Everything; 0 where nothing is mapped (iommufd R23). */
  unmapAll(): bigint;
}

/** What an importer needs of an IOMMU, mock or kernel. */
export interface IommuBackend {
  readonly name: string;
  /** Interconnects its address spaces can map, best first. */
  readonly accepts: readonly InterconnectName[];
  /** A new, empty address space; the caller disposes of it. @throws DmaBufError EOPNOTSUPP where the backend has none. */
  allocAddressSpace(): AddressSpace;
}

/** A stretch of IOVAs that belongs to the platform, as `/sys/kernel/iommu_groups/N/reserved_regions` lists it. */
export interface ReservedRegion extends IovaRange {
  /**
   * `msi`: interrupt writes end there. `direct`: firmware wants it mapped one to one. `direct-relaxable`: the same, but a user space owner
   * may ignore it (iommufd R28). Absent: `reserved`, never translated.
   */
  readonly kind?: "reserved" | "msi" | "direct" | "direct-relaxable";
}

/** What the machine tells the IOMMU about a device behind it. */
export interface IommuClient {
  /** The device's name: its PCI address. */
  readonly name: string;
  readonly isPci: boolean;
  /** Highest address that the device can send, in bytes: all ones up to its width, as in the kernel (`dma_mask`). */
  readonly dmaMask: bigint;
  /** The device's own reserved regions: MSI, direct-mapped. Kept free by the DMA API and by address spaces (dma-iova R19, iommufd R28). */
  readonly reserved: readonly ReservedRegion[];
  /** Memory windows of its host bridge, as bus addresses: kept free by the DMA API alone (dma-iova R19). */
  readonly bridgeWindows?: readonly IovaRange[];
}

/**
 * One requester at a software IOMMU. `translate` is the hot path of every simulated transfer: page frames in, page frames out.
 */
export interface IommuPort {
  readonly name: string;
  /** The DMA API of the device's default domain. */
  readonly dma: DmaMapper;
  /**
   * Translates up to `maxPages` pages that are contiguous on both sides. Writes the first physical page frame to `out.pfn` and returns how
   * many follow it; 0 means blocked, and the fault is recorded (never thrown at the device).
   */
  translate(pfn: number, maxPages: number, write: boolean, out: { pfn: number }): number;
}

/** A software IOMMU that a simulated machine puts at its root complex. */
export interface SoftIommu extends IommuBackend {
  /** Puts a device behind the IOMMU. Its DMA goes through the port from now on. */
  connect(client: IommuClient): IommuPort;
}
