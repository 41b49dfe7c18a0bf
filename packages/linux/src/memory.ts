import { constants as limits } from "node:buffer";
import { fstatSync } from "node:fs";
import { DmaBufError, dispose, hex } from "@peerbar/core";
import { failure, lastErrno } from "./errno.js";
import { hintFor } from "./hint.js";
import { libc } from "./libc.js";
import { library } from "./library.js";
import { describeFd } from "./open-fds.js";

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const PAGE = 4096;

/** Memory of the kernel as an ArrayBuffer. Whoever called mmap owns it and ends it with `unmap` or `using`. */
export interface Mapping {
  /**
   * The memory itself. After `unmap` it reads as zeros and what is written goes nowhere (it is detached, length 0, where the engine
   * can detach it): a late access cannot crash the process, and reaches neither the device nor the file.
   */
  readonly buffer: ArrayBuffer;
  /** Bytes that were asked for. */
  readonly length: number;
  /** Where it lies, as `user_va` of IOMMU_IOAS_MAP wants it. */
  readonly address: bigint;
  /** Lets the file go, at once. Twice is harmless. */
  unmap(): void;
  [Symbol.dispose](): void;
}

/** What to map. */
export interface MapOptions {
  /** Bytes, at least 1, at most what one ArrayBuffer holds ({@link MAX_MAPPING_BYTES}). */
  readonly length: number;
  /** Byte offset in the file, a multiple of the page size. Default 0. */
  readonly offset?: number | bigint;
  /** False: writes stay in this process (MAP_PRIVATE), for files that may only be read. Default true. */
  readonly shared?: boolean;
}

/** The longest mapping: larger BARs are mapped in windows. */
export const MAX_MAPPING_BYTES = limits.MAX_LENGTH;

/**
 * mmap(2), readable and writable: an ArrayBuffer cannot be protected, so a read-only mapping would turn a stray write into a crash.
 * What only may be read is mapped with `shared: false`.
 *
 * A regular file (a memfd) must be as long as the mapping and stay so: memory behind its end raises SIGBUS. The same holds for a BAR whose
 * memory access is turned off while it is mapped: read such regions with `pread`, which fails with EIO instead.
 *
 * @throws DmaBufError with the errno of mmap; EINVAL: length, or the file is shorter.
 */
export function mmap(fd: number, options: MapOptions): Mapping {
  const { length, offset = 0, shared = true } = options;
  const at = Number(offset);
  requireLength(length);
  if (!Number.isSafeInteger(at) || at < 0)
    throw new DmaBufError("EINVAL", "mmap", `offset ${String(offset)}`);
  requireFile(fd, at + length);
  const address = map(0n, length, shared ? MAP_SHARED : MAP_PRIVATE, fd, at);
  return new MappedMemory(address, length);
}

/** Private zeroed memory of whole pages, which never moves: for `IOMMU_IOAS_MAP`. @throws DmaBufError ENOMEM; EINVAL: length. */
export function mmapAnonymous(length: number): Mapping {
  requireLength(length);
  return new MappedMemory(map(0n, length, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), length);
}

/** Where the bytes of a view lie, for structs that carry pointers. Keep the view alive as long as the kernel may use it. */
export function addressOf(view: Uint8Array): bigint {
  return library("mmap").address(view);
}

class MappedMemory implements Mapping {
  readonly buffer: ArrayBuffer;
  readonly length: number;
  readonly address: bigint;
  #mapped = true;

  constructor(address: bigint, length: number) {
    this.address = address;
    this.length = length;
    this.buffer = library("mmap").view(address, length);
    forgotten.register(this.buffer, { address, length }, this);
  }

  unmap(): void {
    if (!this.#mapped) return;
    if (detach(this.buffer)) {
      forgotten.unregister(this);
      libc("munmap").munmap(this.address, this.length);
    } else {
      // Views may outlive this call and the engine cannot cut them off: zeros take the place of the file, until they are collected.
      const zeros = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
      map(this.address, this.length, zeros, -1, 0);
    }
    this.#mapped = false;
  }

  [dispose](): void {
    this.unmap();
  }
}

/** Unmaps what nobody can reach any more: the zeros left by `unmap`, and mappings that were forgotten. */
const forgotten = new FinalizationRegistry<{ readonly address: bigint; readonly length: number }>(
  ({ address, length }) => {
    libc("munmap").munmap(address, length);
  },
);

/** ArrayBuffer.prototype.transfer, of newer engines, takes the memory away from every view. */
function detach(buffer: ArrayBuffer): boolean {
  const { transfer } = buffer as { transfer?: () => ArrayBuffer };
  if (transfer === undefined) return false;
  transfer.call(buffer);
  return true;
}

function map(address: bigint, length: number, flags: number, fd: number, offset: number): bigint {
  const protection = PROT_READ | PROT_WRITE;
  const result = BigInt(libc("mmap").mmap(address, length, protection, flags, fd, offset));
  if (result !== -1n) return BigInt.asUintN(64, result);
  const errno = lastErrno("mmap");
  const what = fd < 0 ? "anonymous memory" : describeFd(fd);
  throw failure("mmap", errno, {
    what: `${hex(BigInt(length))} bytes of ${what} at ${hex(BigInt(offset))}`,
    hint: hintFor("mmap", errno, what),
  });
}

function requireLength(length: number): void {
  if (!Number.isSafeInteger(length) || length < 1 || length > MAX_MAPPING_BYTES)
    throw new DmaBufError("EINVAL", "mmap", `length ${length} bytes`, {
      hint: `1 to ${MAX_MAPPING_BYTES} bytes a mapping; map a larger BAR in windows`,
    });
}

function requireFile(fd: number, end: number): void {
  let size: number;
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return;
    size = Math.ceil(stat.size / PAGE) * PAGE;
  } catch {
    return; // mmap says EBADF in its own words
  }
  if (end > size)
    throw new DmaBufError("EINVAL", "mmap", `${describeFd(fd)} ends before byte ${end}`, {
      hint: "ftruncate it to its full length first",
    });
}
