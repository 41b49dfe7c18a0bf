import { DmaBufError, hex } from "@peerbar/core";

/** Access flags of a memory region, as bits (include/uapi/rdma/ib_user_verbs.h, `IB_UVERBS_ACCESS_*`). */
export const MrAccess = {
  LOCAL_WRITE: 1,
  REMOTE_WRITE: 2,
  REMOTE_READ: 4,
  REMOTE_ATOMIC: 8,
  MW_BIND: 16,
  ZERO_BASED: 32,
  ON_DEMAND: 64,
  HUGETLB: 128,
  RELAXED_ORDERING: 1 << 20,
} as const;

const { LOCAL_WRITE, REMOTE_READ, REMOTE_WRITE, REMOTE_ATOMIC, MW_BIND, RELAXED_ORDERING } =
  MrAccess;
const ALLOWED = LOCAL_WRITE | REMOTE_READ | REMOTE_WRITE | REMOTE_ATOMIC | RELAXED_ORDERING;

/**
 * The flag checks of REG_DMABUF_MR (rdma-umem R30).
 *
 * @throws DmaBufError EINVAL for a flag it does not take (ON_DEMAND among them), and for remote writes or atomics without LOCAL_WRITE.
 */
export function checkAccess(access: number, syscall: string): void {
  const unknown = (access & ~ALLOWED) >>> 0;
  if (unknown !== 0 || !isU32(access)) {
    const flags = hex(unknown === 0 ? access : unknown);
    throw new DmaBufError("EINVAL", syscall, `access flags ${flags} are not taken`, {
      hint: "use LOCAL_WRITE, REMOTE_READ, REMOTE_WRITE, REMOTE_ATOMIC and RELAXED_ORDERING",
      rule: "rdma-umem R30",
    });
  }
  if ((access & (REMOTE_WRITE | REMOTE_ATOMIC)) !== 0 && (access & LOCAL_WRITE) === 0) {
    throw new DmaBufError("EINVAL", syscall, "remote writes need LOCAL_WRITE too", {
      rule: "rdma-umem R30",
    });
  }
}

/** The same flags without ON_DEMAND. What is no u32 stays as it is: bit operations would make one of it. */
export function withoutOnDemand(access: number): number {
  return isU32(access) ? (access & ~MrAccess.ON_DEMAND) >>> 0 : access;
}

/** Whether the uAPI could carry the number. Bit operations drop what lies outside of 32 bits. */
export function isU32(value: number): boolean {
  return value >>> 0 === value;
}

/** Whether the memory may be written at all (`ib_access_writable`, rdma-umem R2). */
export function isWritable(access: number): boolean {
  return (access & (LOCAL_WRITE | REMOTE_WRITE | REMOTE_ATOMIC | MW_BIND)) !== 0;
}
