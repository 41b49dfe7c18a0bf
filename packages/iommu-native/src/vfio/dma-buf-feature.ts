import { type ExportRequest, hex, isPageAligned, type Slice } from "@peerbar/core";
import { adoptFd, ioctl, O_CLOEXEC, O_RDWR, vfio } from "@peerbar/linux";
import { type Cause, type Causes, explained } from "../explain.js";
import type { VfioRegion } from "./regions.js";

const HEADER = vfio.VFIO_DEVICE_FEATURE.struct.size;
const FIXED = vfio.vfio_device_feature_dma_buf.size;
const RANGE = vfio.vfio_region_dma_range.size;

/**
 * `VFIO_DEVICE_FEATURE_DMA_BUF`: a dma-buf of those pages of a BAR, closed by the caller.
 *
 * @param region - of that BAR, for the words of an error only: the kernel decides.
 * @throws DmaBufError with the kernel's errno, vfio-pci-dmabuf V1 to V22.
 */
export function exportBar(fd: number, request: ExportRequest, region?: VfioRegion): number {
  const { bar, ranges } = request;
  const bytes = new Uint8Array(HEADER + FIXED + RANGE * ranges.length);
  vfio.VFIO_DEVICE_FEATURE.struct.encode(
    { flags: vfio.VFIO_DEVICE_FEATURE_GET | vfio.VFIO_DEVICE_FEATURE_DMA_BUF },
    bytes,
  );
  vfio.vfio_device_feature_dma_buf.encode(
    { region_index: bar, open_flags: O_CLOEXEC | O_RDWR, nr_ranges: ranges.length },
    bytes.subarray(HEADER),
  );
  for (const [index, { offset, length }] of ranges.entries()) {
    const at = HEADER + FIXED + RANGE * index;
    vfio.vfio_region_dma_range.encode({ offset, length }, bytes.subarray(at, at + RANGE));
  }
  const made = explained(
    () => ioctl(fd, vfio.VFIO_DEVICE_FEATURE, bytes),
    () => exportCauses(bar, ranges, region),
  );
  return adoptFd(made, `dma-buf of BAR ${String(bar)}`);
}

/** Whether the device's driver exports BARs at all (`VFIO_DEVICE_FEATURE_PROBE`, vfio-pci-dmabuf V7). @throws DmaBufError ENOTTY, EOPNOTSUPP where not. */
export function probeDmaBufFeature(fd: number): void {
  const flags =
    vfio.VFIO_DEVICE_FEATURE_PROBE |
    vfio.VFIO_DEVICE_FEATURE_GET |
    vfio.VFIO_DEVICE_FEATURE_DMA_BUF;
  explained(
    () => ioctl(fd, vfio.VFIO_DEVICE_FEATURE, vfio.VFIO_DEVICE_FEATURE.struct.encode({ flags })),
    () => exportCauses(0, []),
  );
}

/** The first of the kernel's checks that this request fails with that errno (vfio-pci-dmabuf, validation order). */
function exportCauses(bar: number, ranges: readonly Slice[], region?: VfioRegion): Causes {
  return {
    ENOTTY: {
      reason: "this kernel's vfio-pci exports no dma-bufs",
      hint: "Linux 6.19 or newer with CONFIG_VFIO_PCI_DMABUF (PCI_P2PDMA and DMA_SHARED_BUFFER)",
      rule: "vfio-pci-dmabuf section 1",
    },
    EOPNOTSUPP: {
      reason: "the device's vfio driver exports no dma-bufs",
      hint: "bind vfio-pci itself; of the variant drivers only nvgrace-gpu exports",
      rule: "vfio-pci-dmabuf V5",
    },
    ENODEV: {
      reason: `region ${String(bar)} is no BAR that can be shared`,
      hint: "name a memory BAR, 0 to 5, that the device has (lspci -v lists them)",
      rule: "vfio-pci-dmabuf V12",
    },
    EOVERFLOW: {
      reason: "a range wraps the physical address space",
      rule: "vfio-pci-dmabuf V13, V19",
    },
    EINVAL: () => invalid(bar, ranges, region),
    EMFILE: { reason: "no descriptor is left", rule: "vfio-pci-dmabuf V22" },
  };
}

function invalid(bar: number, ranges: readonly Slice[], region?: VfioRegion): Cause {
  if (ranges.length === 0) return { reason: "no ranges", rule: "vfio-pci-dmabuf V11" };
  const odd = ranges.find(
    ({ offset, length }) => length === 0n || !isPageAligned(offset) || !isPageAligned(length),
  );
  if (odd !== undefined) {
    return {
      reason: `range ${show(odd)} is not made of whole pages`,
      hint: "offset and length are multiples of 0x1000 bytes, the length above 0",
      rule: "vfio-pci-dmabuf V14",
    };
  }
  const past = ranges.find(({ offset, length }) => offset + length > (region?.size ?? 0n));
  if (region !== undefined && past !== undefined) {
    return {
      reason: `range ${show(past)} ends past BAR ${String(bar)} of ${hex(region.size)} bytes`,
      hint: region.size < 0x1000n ? "a BAR below one page cannot be shared" : "shorten the range",
      rule: "vfio-pci-dmabuf V20",
    };
  }
  return {
    reason: `BAR ${String(bar)} is no memory BAR, or the ranges sum up to 2^63 bytes`,
    rule: "vfio-pci-dmabuf V15, V16, V18",
  };
}

function show({ offset, length }: Slice): string {
  return `[${hex(offset)}, +${hex(length)})`;
}
