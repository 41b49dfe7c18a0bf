declare module "@peerbar/core" {
  interface DmaBufEvents {
    "rdma-reg-mr": {
      readonly device: string;
      readonly buffer: string;
      readonly key: number;
      readonly mode: string;
      readonly iova: bigint;
      readonly length: bigint;
    };
    "rdma-dereg-mr": { readonly device: string; readonly key: number };
    /** The translation of a region is dead; its key stays taken (rdma-umem R17). */
    "rdma-mr-revoked": { readonly device: string; readonly key: number };
    /** A dynamic region lost its translation until the next page fault (rdma-umem R21). */
    "rdma-mr-zapped": { readonly device: string; readonly key: number };
    "rdma-page-fault": {
      readonly device: string;
      readonly key: number;
      readonly pageSize: bigint;
    };
    "rdma-completion": {
      readonly device: string;
      readonly qp: number;
      readonly opcode: string;
      readonly status: string;
    };
  }
}

export {};
