import type { FaultReason } from "./fault-queue.js";

declare module "@peerbar/core" {
  interface DmaBufEvents {
    /** An area came into one domain of an address space. */
    "iommu-map": {
      readonly space: number;
      readonly domain: number;
      readonly iova: bigint;
      readonly length: bigint;
    };
    /** An area left one domain; `revoked` where the exporter took the memory back. */
    "iommu-unmap": {
      readonly space: number;
      readonly domain: number;
      readonly iova: bigint;
      readonly length: bigint;
      readonly revoked: boolean;
    };
    /** A device's access was stopped. */
    "iommu-fault": {
      readonly device: string;
      readonly iova: bigint;
      readonly access: "r" | "w";
      readonly reason: FaultReason;
    };
    /** From now on the device's DMA goes through that domain; undefined for its default one. */
    "iommu-attach": { readonly device: string; readonly domain: number | undefined };
  }
}
