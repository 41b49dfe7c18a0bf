/** How a region holds its buffer (rdma-umem section 1). */
export type MrMode = "pinned" | "pinned-revocable" | "dynamic" | "data-direct";

/** What one kernel driver does with a dma-buf registration. */
export interface ProviderProfile {
  /** Driver name; `soft` for the model's own device. */
  readonly name: string;
  /** Modes it knows, the one it uses by itself first; none: the verb gives EOPNOTSUPP. */
  readonly modes: readonly MrMode[];
  /** Whether a vfio-pci dma-buf can be registered (by the first mode). */
  readonly importsVfio: boolean;
  /** Bit `n` set: pages of `2^n` bytes. */
  readonly pageSizes: bigint;
  /** errno where no page size fits (rdma-umem R36). */
  readonly noPageSize: "EINVAL" | "EOPNOTSUPP";
  /** Bytes; longer regions are EINVAL. */
  readonly maxMrSize: bigint;
  /** Whether REG_MR may carry a DMA handle (rdma-umem R31). */
  readonly takesDmaHandle: boolean;
  /** Where this is written: file and function of Linux 7.2, or the rule of the specification. */
  readonly source: string;
}

/** All powers of two from `2^first` to `2^last` bytes. */
export function pageSizes(first: number, last: number): bigint {
  return (1n << BigInt(last + 1)) - (1n << BigInt(first));
}

/** The model's own device: every mode, pages of 4 KiB to 1 GiB. */
export const softProfile: ProviderProfile = {
  name: "soft",
  modes: ["pinned-revocable", "dynamic", "pinned", "data-direct"],
  importsVfio: true,
  pageSizes: pageSizes(12, 30),
  noPageSize: "EINVAL",
  maxMrSize: 1n << 63n,
  takesDmaHandle: true,
  source: "the model's own choice",
};
