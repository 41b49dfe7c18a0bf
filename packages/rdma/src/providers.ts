import { type ProviderProfile, pageSizes } from "./profile.js";

const UNBOUNDED = 1n << 63n;
const HW = "drivers/infiniband/hw";

/**
 * What the drivers of Linux 7.2 do with REG_DMABUF_MR (rdma-umem section 1). A driver that only pins has no way to be told of a revoke, so
 * vfio-pci refuses it at attach (vfio-pci-dmabuf R10).
 */
export const providers = {
  mlx5: {
    name: "mlx5",
    modes: ["dynamic", "data-direct"],
    importsVfio: true,
    pageSizes: pageSizes(12, 31),
    noPageSize: "EINVAL",
    maxMrSize: UNBOUNDED,
    takesDmaHandle: true,
    source: `${HW}/mlx5/mr.c: mlx5_ib_reg_user_mr_dmabuf; ${HW}/mlx5/odp.c: pagefault_dmabuf_mr; rdma-umem R19 to R25, R36`,
  },
  irdma: {
    name: "irdma",
    modes: ["pinned-revocable"],
    importsVfio: true,
    pageSizes: (1n << 12n) | (1n << 21n) | (1n << 30n),
    noPageSize: "EOPNOTSUPP",
    maxMrSize: UNBOUNDED,
    takesDmaHandle: false,
    source: `${HW}/irdma/verbs.c: irdma_reg_user_mr_dmabuf; rdma-umem R26 to R29, R31, R36`,
  },
  efa: {
    name: "efa",
    modes: ["pinned"],
    importsVfio: false,
    pageSizes: pageSizes(12, 30),
    noPageSize: "EOPNOTSUPP",
    maxMrSize: UNBOUNDED,
    takesDmaHandle: false,
    source: `${HW}/efa/efa_verbs.c: efa_reg_user_mr_dmabuf (page sizes come from the device: assumed); rdma-umem section 1, R31, R36`,
  },
  mana: {
    name: "mana",
    modes: ["pinned"],
    importsVfio: false,
    pageSizes: pageSizes(12, 21),
    noPageSize: "EINVAL",
    maxMrSize: UNBOUNDED,
    takesDmaHandle: false,
    source: `${HW}/mana/mr.c: mana_ib_reg_user_mr_dmabuf; rdma-umem section 1, R31, R36`,
  },
  bnxt_re: {
    name: "bnxt_re",
    modes: ["pinned"],
    importsVfio: false,
    pageSizes: pageSizes(12, 30),
    noPageSize: "EINVAL",
    maxMrSize: UNBOUNDED,
    takesDmaHandle: false,
    source: `${HW}/bnxt_re/ib_verbs.c: bnxt_re_reg_user_mr_dmabuf; rdma-umem section 1, R31, R36`,
  },
  ionic: {
    name: "ionic",
    modes: ["pinned"],
    importsVfio: false,
    pageSizes: pageSizes(12, 30),
    noPageSize: "EINVAL",
    maxMrSize: UNBOUNDED,
    takesDmaHandle: false,
    source: `${HW}/ionic/ionic_controlpath.c (page sizes, errno and DMA handle: assumed); rdma-umem section 1`,
  },
  /** A driver without `reg_user_mr_dmabuf`: the verb is EOPNOTSUPP. */
  none: {
    name: "a driver without reg_user_mr_dmabuf",
    modes: [],
    importsVfio: false,
    pageSizes: pageSizes(12, 12),
    noPageSize: "EINVAL",
    maxMrSize: UNBOUNDED,
    takesDmaHandle: false,
    source: "drivers/infiniband/core/uverbs_std_types_mr.c; rdma-umem section 1, R30",
  },
} as const satisfies Readonly<Record<string, ProviderProfile>>;
