import { DmaBufError, hex } from "@peerbar/core";
import { ioctlStruct, pread, pwrite, vfio } from "@peerbar/linux";

/** One region of a vfio-pci device: BARs 0 to 5, the expansion ROM, configuration space. */
export interface VfioRegion {
  /** Number that vfio gives it (VFIO_PCI_BAR0_REGION_INDEX and on): a BAR's own. */
  readonly index: number;
  /** Bytes; 0 where the device has no such BAR. */
  readonly size: bigint;
  /** Where the region begins in the device's file, in bytes. */
  readonly offset: bigint;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly mappable: boolean;
}

/** `VFIO_DEVICE_GET_REGION_INFO`. @throws DmaBufError EINVAL for an index the device does not know. */
export function regionInfo(fd: number, index: number): VfioRegion {
  const { out } = ioctlStruct(fd, vfio.VFIO_DEVICE_GET_REGION_INFO, { index });
  return {
    index,
    size: out.size,
    offset: out.offset,
    readable: (out.flags & vfio.VFIO_REGION_INFO_FLAG_READ) !== 0,
    writable: (out.flags & vfio.VFIO_REGION_INFO_FLAG_WRITE) !== 0,
    mappable: (out.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP) !== 0,
  };
}

/**
 * Reads bytes of a region. The kernel uses accesses of 4, 2 and 1 bytes as alignment allows.
 *
 * @throws DmaBufError EINVAL outside the region; EIO while memory access is off.
 */
export function readRegion(fd: number, region: VfioRegion, at: bigint, into: Uint8Array): void {
  assertInside(region, at, into.length, "pread64");
  assertWhole("pread64", region, into.length, pread(fd, into, region.offset + at));
}

/** @throws DmaBufError as {@link readRegion}. */
export function writeRegion(fd: number, region: VfioRegion, at: bigint, bytes: Uint8Array): void {
  assertInside(region, at, bytes.length, "pwrite64");
  assertWhole("pwrite64", region, bytes.length, pwrite(fd, bytes, region.offset + at));
}

/** The file holds all regions one behind the other: past the end of one lies the next. */
export function assertInside(
  region: VfioRegion,
  at: bigint,
  length: number,
  syscall: string,
): void {
  if (at >= 0n && length > 0 && at + BigInt(length) <= region.size) return;
  throw new DmaBufError(
    "EINVAL",
    syscall,
    `[${hex(at)}, +${hex(length)}) is not inside region ${String(region.index)} of ${hex(region.size)} bytes`,
  );
}

function assertWhole(syscall: string, region: VfioRegion, asked: number, done: number): void {
  if (done === asked) return;
  throw new DmaBufError(
    "EIO",
    syscall,
    `${String(done)} of ${String(asked)} bytes of region ${String(region.index)}`,
    { hint: "the device may have memory access switched off, or sleep" },
  );
}
