import {
  type AddressSpace,
  DmaBufError,
  type InterconnectName,
  type IommuBackend,
} from "@peerbar/core";

/** The backend of a kernel without iommufd: buffers can be exported, and there is no address space to put them into. */
export class NoIommufd implements IommuBackend {
  readonly name = "linux, without iommufd";
  readonly accepts: readonly InterconnectName[] = [];
  readonly #cause: DmaBufError | undefined;

  /** @param cause - why /dev/iommu could not be opened. */
  constructor(cause?: DmaBufError) {
    this.#cause = cause;
  }

  allocAddressSpace(): AddressSpace {
    throw new DmaBufError(
      "EOPNOTSUPP",
      "IOMMU_IOAS_ALLOC",
      "no iommufd: a dma-buf cannot be put into an address space on this kernel",
      {
        hint: "a kernel with CONFIG_IOMMUFD (Debian's stock kernels have none); export works without it",
        cause: this.#cause,
      },
    );
  }
}
