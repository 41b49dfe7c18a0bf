import { iocWR } from "../ioctl-number.js";
import { request } from "../request.js";
import { struct } from "../struct.js";

const allocation = struct("dma_heap_allocation_data", [
  ["len", "u64"],
  ["fd", "u32"],
  ["fd_flags", "u32"],
  ["heap_flags", "u64"],
]);

/** include/uapi/linux/dma-heap.h, names as in C. The new dma-buf's fd is in the struct. */
export const dmaHeap = {
  DMA_HEAP_IOCTL_ALLOC: request("DMA_HEAP_IOCTL_ALLOC", iocWR("H", 0, allocation.size), allocation),
} as const;
