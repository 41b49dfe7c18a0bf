import { readdirSync } from "node:fs";
import { DmaBufError } from "@peerbar/core";
import { adoptFd, close, dmaHeap, ioctl, O_CLOEXEC, O_RDWR, open } from "@peerbar/linux";
import { type Causes, explained } from "../explain.js";
import { NativeDmaBuf } from "./native-dma-buf.js";
import type { MemoryBufferOptions } from "./udmabuf.js";

const DIRECTORY = "/dev/dma_heap";

/** Names of the kernel's dma-heaps: `system`, `default_cma_region`; none where it has no heaps. */
export function dmaHeaps(): readonly string[] {
  try {
    return readdirSync(DIRECTORY).sort();
  } catch {
    return [];
  }
}

/**
 * A dma-buf from a heap (`DMA_HEAP_IOCTL_ALLOC`).
 *
 * @param size - bytes; the kernel rounds up to pages.
 * @throws DmaBufError ENOENT or EACCES without the heap; EINVAL for a name with a slash or a size of 0; ENOMEM (dma-buf R58).
 */
export function allocFromHeap(
  size: bigint,
  options: MemoryBufferOptions & { readonly heap?: string | undefined } = {},
): NativeDmaBuf {
  const { heap = "system", ...rest } = options;
  if (!/^[\w.,-]+$/.test(heap)) {
    throw new DmaBufError("EINVAL", "dmaheap.alloc", `"${heap}" is no heap's name`, {
      hint: `this machine has: ${dmaHeaps().join(", ") || "none"}`,
    });
  }
  const device = open(`${DIRECTORY}/${heap}`);
  try {
    const request = dmaHeap.DMA_HEAP_IOCTL_ALLOC;
    const bytes = request.struct.encode({ len: size, fd_flags: O_CLOEXEC | O_RDWR });
    explained(
      () => ioctl(device, request, bytes),
      () => allocCauses,
    );
    const { fd } = request.struct.decode(bytes);
    return NativeDmaBuf.adopt(adoptFd(fd, `dma-buf of heap ${heap}`), { ...rest, name: heap });
  } finally {
    close(device);
  }
}

const allocCauses: Causes = {
  EINVAL: { reason: "the heap refuses this size", rule: "dma-buf R58" },
  ENOMEM: {
    reason: "the heap has not that much memory",
    hint: "ask for less; the system heap refuses more than half of the machine's memory",
    rule: "dma-buf R58",
  },
};
