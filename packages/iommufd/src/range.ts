import {
  ADDRESS_LIMIT,
  type DmaAccess,
  DmaBufError,
  hex,
  type MapRequest,
  PAGE_BYTES,
  type Slice,
} from "@peerbar/core";

/** `ULONG_MAX`: addresses and lengths from here on are refused. */
export const ULONG_MAX = ADDRESS_LIMIT - 1n;
const MAX_PAGES = 0xffff_ffffn;

const permissions: readonly string[] = ["r", "w", "rw"] satisfies readonly DmaAccess[];

/** The checks of IOMMU_IOAS_MAP_FILE that need no buffer, in the kernel's order: iommufd M2, M3, M5, M6. */
export function checkRequest(request: MapRequest, syscall: string): void {
  const { iova, slice, access } = request;
  checkSpan(iova, slice.length, "iommufd M2", syscall);
  checkAccess(access, "iommufd M3", syscall);
  if (slice.length === 0n) {
    throw new DmaBufError("EINVAL", syscall, "a length of 0 bytes", { rule: "iommufd M5" });
  }
  if (slice.offset < 0n || slice.offset + slice.length > ADDRESS_LIMIT) {
    throw new DmaBufError(
      "EOVERFLOW",
      syscall,
      `offset ${hex(slice.offset)} + length ${hex(slice.length)} leaves 64 bits`,
      { rule: "iommufd M6" },
    );
  }
}

/** Whether the slice lies inside a buffer of that size: iommufd M8. (M9 asks less than M8 and can never be reached.) */
export function checkSlice(slice: Slice, size: bigint, syscall: string): void {
  if (size < slice.offset + slice.length) {
    throw new DmaBufError(
      "EINVAL",
      syscall,
      `[${hex(slice.offset)}, +${hex(slice.length)}) is not inside the buffer of ${hex(size)} bytes`,
      { rule: "iommufd M8" },
    );
  }
  if (slice.length / PAGE_BYTES >= MAX_PAGES) {
    throw new DmaBufError("EINVAL", syscall, `${hex(slice.length)} bytes need 2^32 pages`, {
      hint: "map it in several slices below 16 TiB",
      rule: "iommufd M8",
    });
  }
}

/** EOVERFLOW for an IOVA or a length that reaches `ULONG_MAX`, or that no u64 can carry. */
export function checkSpan(
  iova: bigint | undefined,
  length: bigint,
  rule: string,
  syscall: string,
): void {
  const outside = [iova ?? 0n, length].find((value) => value < 0n || value >= ULONG_MAX);
  if (outside === undefined) return;
  throw new DmaBufError("EOVERFLOW", syscall, `${hex(outside)} is not below ${hex(ULONG_MAX)}`, {
    rule,
  });
}

/** EINVAL unless the device may read, write or both. */
export function checkAccess(access: DmaAccess, rule: string, syscall: string): void {
  if (permissions.includes(access)) return;
  throw new DmaBufError("EINVAL", syscall, "neither readable nor writable", {
    hint: 'pass access "r", "w" or "rw"',
    rule,
  });
}

/** True where the device may write. */
export function writes(access: DmaAccess): boolean {
  return access !== "r";
}
