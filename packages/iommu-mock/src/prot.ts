import type { DmaAccess, DmaDirection } from "@peerbar/core";
import { ProtocolViolation } from "@peerbar/core";

/** The device may read (`IOMMU_READ`). */
export const PROT_READ = 4;
/** The device may write (`IOMMU_WRITE`). */
export const PROT_WRITE = 8;
/** The target is device memory (`IOMMU_MMIO`). */
export const PROT_MMIO = 16;
/** Snooped as ordinary memory (`IOMMU_CACHE`). */
export const PROT_CACHE = 32;
/** All that a mapping carries. */
export const PROT_MASK = PROT_READ | PROT_WRITE | PROT_MMIO | PROT_CACHE;

/** Permissions of a DMA direction on MMIO: IOMMU_MMIO is added and IOMMU_CACHE left out (dma-iova R6). */
export function protOfDirection(direction: DmaDirection): number {
  switch (direction) {
    case "bidirectional":
      return PROT_READ | PROT_WRITE | PROT_MMIO;
    case "to-device":
      return PROT_READ | PROT_MMIO;
    case "from-device":
      return PROT_WRITE | PROT_MMIO;
    default:
      // A BUG in the kernel (dma-iova R4).
      throw new ProtocolViolation("dma-iova R4", "dma.map", `direction "${String(direction)}"`);
  }
}

/** Read and write permission of an area (iommufd R8). */
export function protOfAccess(access: DmaAccess): number {
  return (access.includes("r") ? PROT_READ : 0) | (access.includes("w") ? PROT_WRITE : 0);
}
