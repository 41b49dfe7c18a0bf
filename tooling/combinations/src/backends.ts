import { SimpleIommu } from "@peerbar/conformance/reference";
import type { SoftIommu } from "@peerbar/core";
import { type IommuMode, MockIommu } from "@peerbar/iommu-mock";

/** An IOMMU at the root complex, and how to see what it still holds. */
export interface Backend {
  readonly iommu: SoftIommu;
  /** What is in use, as text to compare; constant where the backend does not count (the sanitizer watches its DMA API all the same). */
  usage(): string;
}

/** Every backend, and every mode of those that have modes. */
export const backendNames = [
  "iommu-mock dma",
  "iommu-mock dma-fq",
  "iommu-mock passthrough",
  "iommu-mock off",
  "conformance SimpleIommu",
] as const;

export type BackendName = (typeof backendNames)[number];

const modes: Readonly<Record<BackendName, IommuMode | undefined>> = {
  "iommu-mock dma": "dma",
  "iommu-mock dma-fq": "dma-fq",
  "iommu-mock passthrough": "passthrough",
  "iommu-mock off": "off",
  "conformance SimpleIommu": undefined,
};

export function makeBackend(name: BackendName): Backend {
  const mode = modes[name];
  if (mode === undefined) return { iommu: new SimpleIommu(), usage: () => "" };
  const iommu = new MockIommu({ mode });
  return {
    iommu,
    usage: () => {
      // Pages of page tables may outlive their mappings; everything else may not.
      const { mappedGranules, iovas, areas, domains } = iommu.usage;
      return JSON.stringify({ mappedGranules, iovas, areas, domains });
    },
  };
}
