declare module "@peerbar/core" {
  interface DmaBufEvents {
    "iommufd-map": {
      readonly buffer: string;
      readonly ioas: number;
      readonly iova: bigint;
      readonly length: bigint;
    };
    "iommufd-unmap": { readonly ioas: number; readonly iova: bigint; readonly length: bigint };
    /** One for each revoke of a buffer, with the areas that lost their translations. */
    "iommufd-revoke": { readonly buffer: string; readonly areas: number };
    /** Beyond Linux: areas that `remapOnRestore` filled again. */
    "iommufd-restore": { readonly buffer: string; readonly areas: number };
  }
}

/** Name under which this importer's attachments are listed: the kernel attaches with the /dev/iommu misc device (iommufd R7). */
export const DEVICE_NAME = "iommu";
