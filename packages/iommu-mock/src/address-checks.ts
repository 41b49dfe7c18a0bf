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

export function inUse(reason: string, rule: string): DmaBufError {
  return new DmaBufError("EADDRINUSE", "iommu.attach", reason, { rule });
}
