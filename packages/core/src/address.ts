/**
 * Addresses carry their space. A raw BAR address handed to a device that sits behind an IOMMU does not compile.
 *
 * At the edges an address is a branded bigint in bytes. Inside hot paths the unit is the page frame number, a plain
 * number: a 64-bit address without its 12 offset bits fits a double exactly.
 */

declare const space: unique symbol;

/** A CPU physical address, in bytes. */
export type PhysAddr = bigint & { readonly [space]: "phys" };
/** An address on the PCI bus, in bytes: what a peer below the same switch puts on its wires. */
export type BusAddr = bigint & { readonly [space]: "bus" };
/** An I/O virtual address, in bytes: what a device behind a translating IOMMU puts on its wires. */
export type Iova = bigint & { readonly [space]: "iova" };
/** What a device may put on its wires. With dma-direct (no translation) it is a {@link BusAddr}. */
export type DmaAddr = BusAddr | Iova;

/** Declares that `bytes` is a CPU physical address. */
export function physAddr(bytes: bigint): PhysAddr {
  return bytes as PhysAddr;
}

/** Declares that `bytes` is a PCI bus address. */
export function busAddr(bytes: bigint): BusAddr {
  return bytes as BusAddr;
}

/** Declares that `bytes` is an I/O virtual address. */
export function iova(bytes: bigint): Iova {
  return bytes as Iova;
}

/** A stretch of CPU physical addresses, in bytes: the kernel's `struct phys_vec`. */
export interface PhysRange {
  /** CPU physical address of the first byte. */
  readonly start: PhysAddr;
  /** Bytes. */
  readonly length: bigint;
}

/** A part of a BAR or of a buffer, in bytes from its start. */
export interface Slice {
  /** Bytes from the start of the buffer. */
  readonly offset: bigint;
  /** Bytes. */
  readonly length: bigint;
}

/** log2 of the page size: 4 KiB pages throughout. */
export const PAGE_SHIFT = 12;
/** Bytes in a page, as a number. */
export const PAGE_SIZE = 4096;
/** Bytes in a page, as a bigint. */
export const PAGE_BYTES = 4096n;

/** First address past the 64-bit space: sums are compared with it where the kernel's would wrap. */
export const ADDRESS_LIMIT = 1n << 64n;

/** Page frame number of an address in bytes; the offset in the page is dropped. */
export function toPfn(address: bigint): number {
  return Number(address >> 12n);
}

/** Address in bytes of a page frame. The caller brands it: `physAddr(fromPfn(n))`. */
export function fromPfn(pfn: number): bigint {
  return BigInt(pfn) << 12n;
}

/** True when `bytes` is a multiple of the page size. */
export function isPageAligned(bytes: bigint): boolean {
  return (bytes & 0xfffn) === 0n;
}

/** Hexadecimal text of an address or length, for messages and JSON: `0x1f000`. */
export function hex(value: bigint | number): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}
