import { DmaBufError, hex } from "@peerbar/core";

/** Bytes of conventional and of PCI Express configuration space. */
export const CONVENTIONAL_BYTES = 256;
export const EXPRESS_BYTES = 4096;

export type ConfigAccess = 1 | 2 | 4;

/** Asked at run time too: callers of plain JavaScript pass what they like. */
const SIZES: ReadonlySet<number> = new Set([1, 2, 4]);

/**
 * Configuration space of one function: bytes, and which bits a write may change. What a change means is the function's business.
 * Little-endian, as on the wire.
 */
export class ConfigSpace {
  readonly bytes: Uint8Array;
  readonly #writable: Uint8Array;

  constructor(size: typeof CONVENTIONAL_BYTES | typeof EXPRESS_BYTES) {
    this.bytes = new Uint8Array(size);
    this.#writable = new Uint8Array(size);
  }

  /** Reads past the end give all ones, as hardware does. @throws DmaBufError EINVAL for an access that cannot be put on a bus. */
  read(offset: number, size: ConfigAccess): number {
    checkAccess(offset, size, "pci.readConfig");
    return this.get(offset, size);
  }

  /** Changes the writable bits; writes past the end are dropped. @throws DmaBufError EINVAL as {@link read}. */
  write(offset: number, size: ConfigAccess, value: number): void {
    checkAccess(offset, size, "pci.writeConfig");
    for (let i = 0; i < size; i++) {
      const mask = this.#writable[offset + i] ?? 0;
      const old = this.bytes[offset + i] ?? 0;
      this.bytes[offset + i] = (old & ~mask) | ((value >>> (8 * i)) & mask);
    }
  }

  /** Without the checks of {@link read}: for the machine's own look-ups. */
  get(offset: number, size: ConfigAccess): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = (value << 8) | (this.bytes[offset + i] ?? 0xff);
    return value >>> 0;
  }

  /** Sets bits whatever their mask: hardware changing its own registers. */
  set(offset: number, size: ConfigAccess, value: number): void {
    for (let i = 0; i < size; i++) this.bytes[offset + i] = (value >>> (8 * i)) & 0xff;
  }

  /** Sets a register and which of its bits software may change. */
  define(offset: number, size: ConfigAccess, value: number, writable = 0): void {
    this.set(offset, size, value);
    for (let i = 0; i < size; i++) this.#writable[offset + i] = (writable >>> (8 * i)) & 0xff;
  }

  /** Zeroes all writable bits: what a function-level reset leaves. */
  resetWritable(): void {
    for (const [i, mask] of this.#writable.entries()) {
      if (mask !== 0) this.bytes[i] = (this.bytes[i] ?? 0) & ~mask;
    }
  }
}

function checkAccess(offset: number, size: ConfigAccess, syscall: string): void {
  if (
    SIZES.has(size) &&
    Number.isInteger(offset) &&
    offset >= 0 &&
    offset % size === 0 &&
    offset + size <= EXPRESS_BYTES
  ) {
    return;
  }
  throw new DmaBufError(
    "EINVAL",
    syscall,
    `${String(size)} bytes at ${hex(Number.isFinite(offset) ? offset : 0)} is no configuration access`,
    { hint: "use 1, 2 or 4 bytes at a multiple of that size below 0x1000" },
  );
}
