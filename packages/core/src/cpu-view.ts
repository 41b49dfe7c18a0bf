import { ADDRESS_LIMIT, hex, isPageAligned, PAGE_BYTES, type Slice } from "./address.js";
import { dispose } from "./dispose.js";
import type { DmaBuf, DmaBufReference } from "./dma-buf.js";
import { DmaBufError, ProtocolViolation } from "./error.js";
import type { Held } from "./reservation.js";

/** A buffer as the CPU of the kernel sees it (`struct iosys_map`). */
export interface CpuView {
  /** All bytes of the buffer, shared with every other view. */
  readonly bytes: Uint8Array;
  /** True for device memory: single accesses only, never a cached copy. */
  readonly isIoMemory: boolean;
}

/** Part of a buffer in a process (`mmap`). Keeps the buffer until it is unmapped. Unmapping twice is harmless. */
export interface CpuMapping extends Disposable {
  readonly bytes: Uint8Array;
  /** Ends the mapping; its bytes are out of reach afterwards. Twice is harmless. */
  unmap(): void;
}

/** @internal The counted kernel view of one buffer (dma-buf R54). */
export class VmapCounter {
  #view: CpuView | undefined;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  map(buffer: DmaBuf, held: Held): CpuView {
    const { ops } = buffer;
    if (ops.vmap === undefined) {
      throw new DmaBufError("EINVAL", "dmabuf.vmap", `${ops.name} has no vmap`, {
        rule: "dma-buf R54",
      });
    }
    // The exporter's errno is returned as it is; only the first view asks it.
    this.#view ??= ops.vmap(held);
    this.#count += 1;
    return this.#view;
  }

  unmap(buffer: DmaBuf, view: CpuView, held: Held): void {
    if (this.#count === 0 || view !== this.#view) {
      throw new ProtocolViolation(
        "dma-buf R54",
        "dmabuf.vunmap",
        this.#count === 0 ? "no view is mapped" : "another view than vmap gave",
      );
    }
    if (this.#count === 1) {
      buffer.ops.vunmap?.(view, held);
      this.#view = undefined;
    }
    this.#count -= 1;
  }
}

/**
 * @internal The checks of `mmap` in the kernel's order (dma-buf R50), then the exporter's own.
 */
export function mapForCpu(
  buffer: DmaBuf,
  slice: Slice,
  reference: () => DmaBufReference,
): CpuMapping {
  const { ops } = buffer;
  if (ops.mmap === undefined) throw refused("EINVAL", `${ops.name} has no mmap`);
  const pages = wholePages(buffer, slice);
  const bytes = ops.mmap(pages);
  const keeps = reference();
  const { label, inode, events } = buffer;
  events?.emit({ type: "mmap", buffer: label, inode, size: pages.length });
  let mapped = true;
  const unmap = (): void => {
    if (!mapped) return;
    keeps.put();
    mapped = false;
    events?.emit({ type: "munmap", buffer: label, inode, size: pages.length });
  };
  return { bytes, unmap, [dispose]: unmap };
}

/** Lengths round up to pages, as the system call does; the offset must be whole. */
function wholePages(buffer: DmaBuf, { offset, length }: Slice): Slice {
  if (length <= 0n || offset < 0n || !isPageAligned(offset)) {
    throw refused("EINVAL", `offset ${hex(offset)}, length ${hex(length)}`);
  }
  const rounded = (length + PAGE_BYTES - 1n) & ~(PAGE_BYTES - 1n);
  if (offset + rounded > ADDRESS_LIMIT) throw refused("EOVERFLOW", "offset and length wrap");
  if (offset + rounded > buffer.size) {
    throw refused(
      "EINVAL",
      `bytes ${hex(offset)} to ${hex(offset + rounded)} of ${hex(buffer.size)}`,
    );
  }
  return { offset, length: rounded };
}

function refused(code: "EINVAL" | "EOVERFLOW", reason: string): DmaBufError {
  return new DmaBufError(code, "dmabuf.mmap", reason, { rule: "dma-buf R50" });
}
