import { DmaBufError, hex } from "@peerbar/core";

/** Largest value of an `unsigned long`: addresses and lengths have to stay below (iommufd M2). */
export const ULONG_MAX = (1n << 64n) - 1n;

export function isMultiple(pages: number, align: number): boolean {
  return Number.isInteger(pages / align);
}

export function fraction(pages: number): number {
  return pages - Math.floor(pages);
}

export function roundUpPow2(pages: number): number {
  return 2 ** Math.ceil(Math.log2(pages));
}

export function checkBelowMax(at: bigint, length: bigint, syscall: string): void {
  if (
    at < 0n ||
    length < 0n ||
    at >= ULONG_MAX ||
    length >= ULONG_MAX ||
    at + length > ULONG_MAX + 1n
  ) {
    throw overflow(at, length, syscall);
  }
}

export function overflow(at: bigint, length: bigint, syscall: string): DmaBufError {
  return new DmaBufError("EOVERFLOW", syscall, `${hex(at)} + ${hex(length)} bytes exceed 64 bits`);
}

export function invalid(reason: string): DmaBufError {
  return new DmaBufError("EINVAL", "iommu.map", reason);
}

/** A copy may not be written where the memory was mapped for reading (iommufd R24). */
export function readOnly(): DmaBufError {
  return new DmaBufError("EPERM", "iommu.copy", "the source was mapped read-only", {
    hint: 'copy with access "r", or map the memory again',
    rule: "iommufd R24",
  });
}

export function inUse(reason: string, rule: string): DmaBufError {
  return new DmaBufError("EADDRINUSE", "iommu.attach", reason, { rule });
}

/** Up to here, in pages, a double has room for every byte of a page: 2^53 bytes. */
const EXACT_END = 2 ** 41;

/**
 * Bytes to pages, as a double that may have a fraction: exact for whole pages, and for all up to 2^53. Not for the sum of two: see
 * {@link isExact}. @throws DmaBufError EINVAL
 */
export function toPages(bytes: bigint, syscall: string): number {
  if (bytes >= 1n << 53n && (bytes & 0xfffn) !== 0n) throw subPage(hex(bytes), syscall);
  return Number(bytes) / 4096;
}

/**
 * Bytes to pages where they are only compared with the ends of areas: of those above 2^53 none is inside of a page, so the middle of the
 * page stands for all of it.
 */
export function toPagesAbout(bytes: bigint): number {
  if (bytes < 1n << 53n || (bytes & 0xfffn) === 0n) return Number(bytes) / 4096;
  return Number(bytes >> 12n) + 0.5;
}

/** A stretch begins and ends where a double says so: whole pages anywhere, parts of pages up to 2^53 bytes. */
export function isExact(page: number, count: number): boolean {
  // Not of the sum: it would be rounded down to the very limit.
  return count <= EXACT_END - page || (Number.isInteger(page) && Number.isInteger(count));
}

/** What the model has no numbers for. */
export function subPage(what: string, syscall: string): DmaBufError {
  return new DmaBufError("EINVAL", syscall, `${what} is not a page multiple`, {
    hint: "this model has sub-page addresses up to 2^53 only",
  });
}
