import { DmaBufError } from "@peerbar/core";

/** Page-table formats of this model. */
export type PageTableFormatName =
  | "x86-64"
  | "x86-64-5level"
  | "amd-v1"
  | "arm-64-4k"
  | "iommufd-selftest";

/** What a page-table format can express and how its driver answers. Sizes are counted in pages of `1 << pageShift` bytes. */
export interface PageTableFormat {
  readonly name: PageTableFormatName;
  /** log2 of the smallest page, in bytes: the granule of the domain. */
  readonly pageShift: number;
  /** Levels of a fresh table; each resolves 9 bits. */
  readonly levels: number;
  /** Levels it can grow to while it is in use: AMD v1 alone grows. */
  readonly maxLevels: number;
  /** Highest IOVA, in bytes. */
  readonly lastIova: bigint;
  /** Lowest IOVA, in bytes: 0 but for iommufd's selftest device. */
  readonly firstIova: bigint;
  /** Bits of a physical address. */
  readonly physBits: number;
  /** Supported page sizes as log2 of pages, ascending; the first is 0. */
  readonly sizes: readonly number[];
  /** Errno of a map over an existing entry (dma-iova R9). */
  readonly occupied: "EADDRINUSE" | "EEXIST";
  /**
   * An unmap that ends inside a large page: the generic drivers remove the whole page and report more than was asked for,
   * io-pgtable-arm warns and removes nothing (drivers/iommu/generic_pt/iommu_pt.h, drivers/iommu/io-pgtable-arm.c).
   */
  readonly partialUnmap: "whole" | "refuse";
}

const x86 = {
  pageShift: 12,
  firstIova: 0n,
  physBits: 52,
  sizes: [0, 9, 18],
  occupied: "EADDRINUSE",
  partialUnmap: "whole",
} as const;

/** Every power of two from 4 KiB to 2^51 bytes but 512 GiB, which the hardware gets wrong. */
const amdSizes = Array.from({ length: 40 }, (_, log2) => log2).filter((log2) => log2 !== 27);

/** The formats by name. */
export const pageTableFormats: Readonly<Record<PageTableFormatName, PageTableFormat>> = {
  "x86-64": { ...x86, name: "x86-64", levels: 4, maxLevels: 4, lastIova: (1n << 48n) - 1n },
  "x86-64-5level": {
    ...x86,
    name: "x86-64-5level",
    levels: 5,
    maxLevels: 5,
    lastIova: (1n << 57n) - 1n,
  },
  "amd-v1": {
    ...x86,
    name: "amd-v1",
    levels: 3,
    maxLevels: 6,
    lastIova: (1n << 64n) - 1n,
    sizes: amdSizes,
  },
  "arm-64-4k": {
    ...x86,
    name: "arm-64-4k",
    levels: 4,
    maxLevels: 4,
    lastIova: (1n << 48n) - 1n,
    physBits: 48,
    occupied: "EEXIST",
    partialUnmap: "refuse",
  },
  // drivers/iommu/iommufd/selftest.c: half pages and a narrow aperture (iommufd R35).
  "iommufd-selftest": {
    ...x86,
    name: "iommufd-selftest",
    pageShift: 11,
    levels: 3,
    maxLevels: 3,
    firstIova: 0x0100_0000n,
    lastIova: 0x7fff_ffffn,
    sizes: [0, 9],
  },
};

/** @throws DmaBufError EINVAL for a name this model does not know. */
export function pageTableFormat(name: PageTableFormatName): PageTableFormat {
  const format = (pageTableFormats as Record<string, PageTableFormat | undefined>)[name];
  if (format !== undefined) return format;
  throw new DmaBufError("EINVAL", "iommu.create", `unknown page-table format "${name}"`, {
    hint: `one of ${Object.keys(pageTableFormats).join(", ")}`,
  });
}
