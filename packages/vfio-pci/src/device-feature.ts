import { DmaBufError, type FdTable, type Slice, type WaitOptions } from "@peerbar/core";
import { EXPORT } from "./bar-ranges.js";
import type { VfioPciDevice } from "./vfio-pci-device.js";

/** `_IO(';', 100 + 17)`. */
export const VFIO_DEVICE_FEATURE = 0x3b75;
/** Index of the dma-buf feature, bits 0 to 15 of the flags. */
export const VFIO_DEVICE_FEATURE_DMA_BUF = 11;
/** Flag of the ioctl: read the feature. */
export const VFIO_DEVICE_FEATURE_GET = 1 << 16;
/** Flag of the ioctl: set the feature. */
export const VFIO_DEVICE_FEATURE_SET = 1 << 17;
/** Flag of the ioctl: ask whether the feature has what the other flags say. */
export const VFIO_DEVICE_FEATURE_PROBE = 1 << 18;

const FLAGS = 0x0007_ffff;
const INDEX = 0xffff;
const HEADER_BYTES = 8;
const FIXED_BYTES = 16;
const RANGE_BYTES = 16;
/** O_CLOEXEC on x86 and arm64: the bit of `open_flags` that is the descriptor's, not the file's. */
const O_CLOEXEC = 0o2000000;

/** How {@link deviceFeature} behaves beside its argument. */
export interface DeviceFeatureOptions extends WaitOptions {
  /** False for a kernel built without CONFIG_VFIO_PCI_DMABUF: ENOTTY. */
  readonly built?: boolean | undefined;
  /** False for a variant driver that gives no physical ranges, all but vfio-pci and nvgrace-gpu (vfio-pci-dmabuf V5). */
  readonly exports?: boolean | undefined;
}

/**
 * `ioctl(device, VFIO_DEVICE_FEATURE, argument)` for the dma-buf feature, byte for byte: the way of programs that speak to the kernel.
 *
 * | bytes | field |
 * |---|---|
 * | 0, 4 | u32 argsz; u32 flags: the index 11, GET, SET, PROBE |
 * | 8, 12, 16, 20 | u32 region_index, open_flags, flags (0), nr_ranges |
 * | 24 + 16 i | u64 offset, u64 length |
 *
 * `argsz` need not cover the ranges: `nr_ranges` alone says how much is read (vfio-pci-dmabuf R1). Of `open_flags` the file keeps the
 * access mode and O_NONBLOCK, the descriptor O_CLOEXEC; other bits are ignored (R2).
 *
 * @param argument - The memory the argument points to, little endian; where it ends, reading faults.
 * @returns A descriptor in `fds` that owns the buffer, or 0 for a probe.
 * @throws DmaBufError by vfio-pci-dmabuf V1 to V22, in that order; ENOTTY for another feature; EBADF after close; EINTR, ETIMEDOUT.
 */
export async function deviceFeature(
  device: VfioPciDevice,
  fds: FdTable,
  argument: Uint8Array,
  options: DeviceFeatureOptions = {},
): Promise<number> {
  device.assertOpen(SYSCALL);
  const memory = new DataView(argument.buffer, argument.byteOffset, argument.byteLength);
  const argsz = checkHeader(memory, options);
  if (argsz === undefined) return 0;
  if (argsz - HEADER_BYTES < FIXED_BYTES) {
    throw refuse("EINVAL", "V9", `argsz ${String(argsz)} leaves no room for the payload`);
  }
  mustRead(memory, HEADER_BYTES, FIXED_BYTES, "V10", "the payload");
  const openFlags = memory.getUint32(12, true);
  const flags = memory.getUint32(16, true);
  const count = memory.getUint32(20, true);
  if (count !== 0 && flags !== 0) {
    throw refuse("EINVAL", "V11", `flags 0x${flags.toString(16)} are not 0`);
  }
  const buffer = await device.exportRegion(
    {
      bar: memory.getUint32(8, true),
      count,
      ranges: () => readRanges(memory, count),
      name: undefined,
      flags: openFlags,
      iovaStrategy: undefined,
    },
    options,
  );
  try {
    return fds.fd(buffer, { closeOnExec: (openFlags & O_CLOEXEC) !== 0 });
  } catch (error) {
    // Only the reference is put: the release does the rest, once (vfio-pci-dmabuf V22, known-bugs B5).
    buffer.close();
    throw error;
  }
}

const SYSCALL = "vfio.deviceFeature";

/** V1 to V8. Returns argsz, or undefined where a probe is answered already. */
function checkHeader(memory: DataView, options: DeviceFeatureOptions): number | undefined {
  mustRead(memory, 0, HEADER_BYTES, "V1", "the header");
  const argsz = memory.getUint32(0, true);
  const flags = memory.getUint32(4, true);
  const get = (flags & VFIO_DEVICE_FEATURE_GET) !== 0;
  const set = (flags & VFIO_DEVICE_FEATURE_SET) !== 0;
  const probe = (flags & VFIO_DEVICE_FEATURE_PROBE) !== 0;
  if (argsz < HEADER_BYTES) throw refuse("EINVAL", "V2", `argsz ${String(argsz)} is below 8`);
  if ((flags & ~FLAGS) !== 0) {
    throw refuse("EINVAL", "V3", `flags 0x${flags.toString(16)} have bits outside 0x7ffff`);
  }
  if (get && set && !probe) throw refuse("EINVAL", "V4", "GET and SET at once");
  const index = flags & INDEX;
  if (index !== VFIO_DEVICE_FEATURE_DMA_BUF || options.built === false) {
    throw new DmaBufError("ENOTTY", SYSCALL, `feature ${String(index)} is not there`, {
      hint: "dma-buf export is feature 11, in kernels with CONFIG_VFIO_PCI_DMABUF",
    });
  }
  if (options.exports === false) {
    throw refuse("EOPNOTSUPP", "V5", "this variant driver does not share its BARs");
  }
  if (set) throw refuse("EINVAL", "V6", "the feature cannot be set");
  if (probe) return undefined;
  if (!get) throw refuse("EINVAL", "V8", "neither GET nor PROBE is set");
  return argsz;
}

/** V13: the copy of the list. Its size cannot overflow where size_t has 64 bits; EOVERFLOW is of 32-bit kernels. */
function readRanges(memory: DataView, count: number): readonly Slice[] {
  const at = HEADER_BYTES + FIXED_BYTES;
  mustRead(memory, at, count * RANGE_BYTES, "V13", `${String(count)} ranges`);
  return Array.from({ length: count }, (_, i) => ({
    offset: memory.getBigUint64(at + i * RANGE_BYTES, true),
    length: memory.getBigUint64(at + i * RANGE_BYTES + 8, true),
  }));
}

function mustRead(memory: DataView, at: number, bytes: number, rule: string, what: string): void {
  if (at + bytes <= memory.byteLength) return;
  throw refuse(
    "EFAULT",
    rule,
    `${what} end at byte ${String(at + bytes)}, the memory at ${String(memory.byteLength)}`,
  );
}

function refuse(
  code: "EINVAL" | "EFAULT" | "EOPNOTSUPP",
  rule: string,
  reason: string,
): DmaBufError {
  // V1 to V8 belong to the ioctl, the rest to the export.
  const syscall = rule === "V10" || rule === "V11" || rule === "V13" ? EXPORT : SYSCALL;
  return new DmaBufError(code, syscall, reason, { rule: `vfio-pci-dmabuf ${rule}` });
}
