import { DmaBufError, hex, type Iova } from "@peerbar/core";
import {
  fraction,
  inUse,
  invalid,
  isExact,
  isMultiple,
  overflow,
  roundUpPow2,
  subPage,
  toPages,
  ULONG_MAX,
} from "./address-checks.js";
import type { Area } from "./area.js";
import type { AreaTable } from "./area-table.js";
import type { IoDomain } from "./io-domain.js";
import { type IovaSet, SPACE_END } from "./iova-set.js";

/** Pages in a transparent huge page: the largest alignment of a chosen IOVA (iommufd R6). */
const HUGE_PAGES = 512;

/** What decides where an area may go. */
export interface Room {
  readonly set: IovaSet;
  readonly areas: AreaTable;
  /** Alignment of the address space, in pages. */
  readonly alignPages: number;
}

/** A part of an area. */
export interface AreaPart {
  readonly area: Area;
  /** Where the part begins in the area's memory, in pages. */
  readonly offset: number;
  readonly pages: number;
}

/** Page of a new area: checked where the caller fixed it, else the lowest that fits (iommufd M16 to M18, R6). */
export function place(
  room: Room,
  fixed: Iova | undefined,
  length: bigint,
  count: number,
  start: bigint,
): number {
  if (length <= 0n || !isMultiple(count, room.alignPages)) {
    throw invalid(
      `length ${hex(length)} is not a positive multiple of ${hex(BigInt(room.alignPages * 4096))} bytes`,
    );
  }
  return fixed === undefined
    ? choose(room, length, count, start)
    : checkFixed(room, fixed, length, count);
}

function checkFixed(room: Room, at: Iova, length: bigint, count: number): number {
  if (at < 0n || at >= ULONG_MAX || length >= ULONG_MAX) throw overflow(at, length, "iommu.map");
  const align = BigInt(room.alignPages * 4096);
  if (at % align !== 0n) {
    throw invalid(`IOVA ${hex(at)} is not a multiple of ${hex(align)} bytes`);
  }
  if (at + length > ULONG_MAX + 1n) throw overflow(at, length, "iommu.map");
  // Only what the kernel would take meets the limits of the model.
  const page = toPages(at, "iommu.map");
  if (room.set.isReserved(page, page + count)) {
    throw invalid(`${hex(at)} + ${hex(length)} bytes meet a reserved range`);
  }
  if (room.areas.meets(page, page + count)) {
    throw new DmaBufError(
      "EEXIST",
      "iommu.map",
      `${hex(at)} + ${hex(length)} bytes meet another mapping`,
      {
        rule: "iommufd M17",
        hint: "unmap it first; a revoked one keeps its IOVA too",
      },
    );
  }
  return page;
}

function choose(room: Room, length: bigint, count: number, start: bigint): number {
  if (length >= ULONG_MAX / 2n) throw overflow(0n, length, "iommu.map");
  let align = Math.min(roundUpPow2(count), HUGE_PAGES);
  if (start > 0n) align = Math.min(align, Number(start & -start) / 4096);
  if (align < room.alignPages) {
    throw invalid(
      `the memory is aligned to ${align * 4096} bytes, the address space to ${hex(BigInt(room.alignPages * 4096))}`,
    );
  }
  const inPage = Number(start & 0xfffn) / 4096;
  for (const range of room.set.choosable) {
    const low = Math.max(1, range.first);
    const end = Math.min(range.end, SPACE_END - 1);
    const page = room.areas.lowestFit(low, end, count, align, inPage);
    if (page < 0) continue;
    if (!isExact(page, inPage)) throw subPage("a place inside of a page", "iommu.map");
    return page;
  }
  throw new DmaBufError("ENOSPC", "iommu.map", `no room for ${hex(length)} bytes`, {
    rule: "iommufd R6",
    hint: "unmap something, or allow more ranges",
  });
}

/** A sub-page start needs domains that can express it (iommufd M19). @throws DmaBufError EINVAL */
export function checkStart({ alignPages }: Room, offset: number): void {
  if (isMultiple(fraction(offset), alignPages)) return;
  throw invalid(`the memory starts ${hex(fraction(offset) * 4096)} bytes into a page`);
}

/** The areas that cover the stretch without a hole. @throws DmaBufError ENOENT (iommufd R24). */
export function covering(areas: AreaTable, at: Iova, length: bigint): AreaPart[] {
  if (length <= 0n) throw invalid("length 0");
  const parts: AreaPart[] = [];
  let page = toPages(at, "iommu.copy");
  const end = toPages(at + length, "iommu.copy");
  while (page < end) {
    const area = areas.at(page);
    if (area === undefined) {
      throw new DmaBufError(
        "ENOENT",
        "iommu.copy",
        `${hex(at)} + ${hex(length)} bytes are not mapped throughout`,
        {
          rule: "iommufd R24",
        },
      );
    }
    const skip = page - area.page;
    const pages = Math.min(area.count - skip, end - page);
    parts.push({ area, offset: area.offset + skip, pages });
    page += pages;
  }
  return parts;
}

/** A new domain must carry every area, and all that is allowed (iommufd R27, R5). @throws DmaBufError EADDRINUSE */
export function checkDomain({ areas, set }: Room, io: IoDomain): void {
  const align = Number(io.granule) / 4096;
  const first = toPages(io.aperture.first, "iommu.attach");
  const end = toPages(io.aperture.last + 1n, "iommu.attach");
  for (const area of areas) {
    const isAligned =
      isMultiple(area.page, align) &&
      isMultiple(area.count, align) &&
      isMultiple(fraction(area.offset), align);
    if (isAligned && area.page >= first && area.page + area.count <= end) continue;
    throw inUse(
      `the area at ${hex(area.iova)} ${isAligned ? "is outside of the domain's aperture" : `is not aligned to ${hex(io.granule)} bytes`}`,
      "iommufd R27",
    );
  }
  if (set.isAllowed(0, first) || set.isAllowed(end, SPACE_END)) {
    throw inUse("an allowed range is outside of the domain's aperture", "iommufd R5");
  }
}
