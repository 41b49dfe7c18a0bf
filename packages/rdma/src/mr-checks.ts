import { DmaBufError, hex, isPageAligned } from "@peerbar/core";
import { checkAccess } from "./access.js";
import type { MrMode, ProviderProfile } from "./profile.js";

/** What is asked for a region's memory, by a registration or a re-registration. Bytes. */
interface Asked {
  readonly offset: bigint;
  readonly length: bigint;
  readonly iova: bigint;
  readonly access: number;
}

/**
 * What the driver looks at before it takes any memory, in its order.
 *
 * @throws DmaBufError EINVAL for offset and iova that differ below a page (rdma-umem R30) or for flags, EOPNOTSUPP for a data-direct region that
 *   begins inside a page (R25), EINVAL for one longer than the device takes (R26).
 */
export function checkMemory(
  { offset, length, iova, access }: Asked,
  mode: MrMode,
  profile: ProviderProfile,
  syscall: string,
): void {
  if (((offset ^ iova) & 0xfffn) !== 0n) {
    throw new DmaBufError(
      "EINVAL",
      syscall,
      `offset ${hex(offset)} and iova ${hex(iova)} differ in their low 12 bits`,
      { rule: "rdma-umem R30" },
    );
  }
  checkAccess(access, syscall);
  if (mode === "data-direct" && !isPageAligned(iova)) {
    throw new DmaBufError("EOPNOTSUPP", syscall, `iova ${hex(iova)} inside a page`, {
      hint: "data-direct regions begin at a page",
      rule: "rdma-umem R25",
    });
  }
  if (length > profile.maxMrSize) {
    throw new DmaBufError(
      "EINVAL",
      syscall,
      `${hex(length)} bytes; ${profile.name} takes ${hex(profile.maxMrSize)}`,
      { rule: "rdma-umem R26" },
    );
  }
}
