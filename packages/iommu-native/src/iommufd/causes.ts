import { type DmaAccess, hex, type Iova, type Slice } from "@peerbar/core";
import { exporterOf } from "../buffers/native-dma-buf.js";
import type { Cause, Causes } from "../explain.js";
import type { IovaSpace } from "./iommufd-file.js";

/** One IOMMU_IOAS_MAP_FILE. */
export interface MapFileRequest {
  readonly ioas: number;
  readonly fd: number;
  /** Part of the file, in bytes. */
  readonly slice: Slice;
  readonly iova?: Iova | undefined;
  readonly access: DmaAccess;
}

/** What the kernel's errno of MAP_FILE means for this request (iommufd M1 to M20). `space` is asked only where it decides. */
export function mapFileCauses(request: MapFileRequest, space: () => IovaSpace): Causes {
  return {
    EOPNOTSUPP: () => notTaken(request),
    ENODEV: {
      reason: "the exporter has revoked the buffer",
      hint: "memory access of its device is off, or its file closed: map again once it is back",
      rule: "iommufd M10, M14",
    },
    EEXIST: {
      reason: `IOVA ${hex(request.iova ?? 0n)} is occupied`,
      hint: "unmap what is there first, a revoked mapping too",
      rule: "iommufd M17, R16",
    },
    EINVAL: () => invalid(request, space()),
    EOVERFLOW: { reason: "an address or length reaches 2^64", rule: "iommufd M2, M6, M17" },
    ENOSPC: {
      reason: `no room for ${hex(request.slice.length)} bytes`,
      hint: "unmap something, or allow more IOVAs",
      rule: "iommufd M18",
    },
    EBADF: { reason: `fd ${String(request.fd)} is not open`, rule: "iommufd M7" },
    EADDRINUSE: { reason: "a page table holds something there already", rule: "iommufd M20" },
  };
}

function notTaken({ fd }: MapFileRequest): Cause {
  const exporter = exporterOf(fd) ?? "unknown";
  return exporter === "vfio_pci_core"
    ? {
        reason: "the dma-buf has more than one range",
        hint: "export and map each range as a buffer of its own",
        rule: "iommufd M15",
      }
    : {
        reason: `iommufd takes dma-bufs of vfio-pci, not of ${exporter}`,
        hint: "ordinary memory goes in as a memfd, or by address",
        rule: "iommufd M13",
      };
}

function invalid(request: MapFileRequest, { alignment, ranges }: IovaSpace): Cause {
  const { slice, iova } = request;
  if (slice.length === 0n) return { reason: "a length of 0 bytes", rule: "iommufd M5" };
  const misaligned = [
    ["length", slice.length, "iommufd M16"],
    ["iova", iova ?? 0n, "iommufd M17"],
    ["offset", slice.offset & 0xfffn, "iommufd M19"],
  ] as const;
  for (const [what, value, rule] of misaligned) {
    if (value % alignment !== 0n) {
      return { reason: `${what} ${hex(value)} is no multiple of ${hex(alignment)}`, rule };
    }
  }
  if (iova !== undefined) {
    const last = iova + slice.length - 1n;
    const usable = ranges.some((range) => range.first <= iova && last <= range.last);
    if (!usable) {
      const text = ranges.map((range) => `[${hex(range.first)}, ${hex(range.last)}]`).join(", ");
      return {
        reason: `[${hex(iova)}, ${hex(last)}] is outside the usable ranges ${text}`,
        hint: "choose an IOVA inside them; interrupts and bridge windows are not among them",
        rule: "iommufd M17",
      };
    }
  }
  return {
    reason: `[${hex(slice.offset)}, +${hex(slice.length)}) is not inside the file`,
    rule: "iommufd M8",
  };
}

export function copyCauses(): Causes {
  return {
    ENOENT: { reason: "the source is not mapped throughout", rule: "iommufd R24" },
    EPERM: {
      reason: "the source was mapped read-only",
      hint: 'copy with access "r", or map the buffer again',
      rule: "iommufd R24",
    },
    EEXIST: { reason: "the IOVA is occupied", rule: "iommufd M17" },
    EINVAL: { reason: "length, IOVA or permission", rule: "iommufd R24" },
  };
}

export function unmapCauses(): Causes {
  return {
    ENOENT: {
      reason: "nothing is mapped there, or a mapping is only partly inside",
      hint: "unmap whole mappings",
      rule: "iommufd R23",
    },
    EINVAL: { reason: "a length of 0 bytes", rule: "iommufd R23" },
    EOVERFLOW: { reason: "an address or length reaches 2^64", rule: "iommufd R23" },
  };
}

/** Of page tables and devices: attach, HWPT_ALLOC, DESTROY. */
export function domainCauses(): Causes {
  return {
    EADDRINUSE: {
      reason: "mappings lie where the device cannot have them",
      hint: "unmap what is in its reserved ranges or misaligned, then attach",
      rule: "iommufd R27, R28",
    },
    EBUSY: { reason: "still in use", hint: "detach the devices first", rule: "iommufd R2" },
    ENOENT: { reason: "no such object in this iommufd", rule: "iommufd R2" },
    EINVAL: {
      reason: "the page table does not fit the device, or is of another kind",
      rule: "iommufd R26, R29",
    },
    EOPNOTSUPP: { reason: "the IOMMU cannot do that", rule: "iommufd R29" },
  };
}
