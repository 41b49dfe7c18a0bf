import { ADDRESS_LIMIT, DmaBufError, hex, isPageAligned } from "@peerbar/core";
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
 * How this device holds the region.
 *
 * @throws DmaBufError EOPNOTSUPP where the driver has no such registration: before anything else is looked at (rdma-umem R30).
 */
export function modeOf(profile: ProviderProfile, wanted: MrMode | undefined): MrMode {
  const mode = wanted ?? profile.modes[0];
  if (mode !== undefined && profile.modes.includes(mode)) return mode;
  throw new DmaBufError(
    "EOPNOTSUPP",
    "rdma.regMr",
    `${profile.name} has no ${mode ?? "dma-buf"} registration`,
    { hint: `it knows [${profile.modes.join(", ")}]`, rule: "rdma-umem R30" },
  );
}

/**
 * What the verb looks at before the driver hears of the region.
 *
 * @throws DmaBufError EINVAL for an iova that no u64 can carry, for offset and iova that differ below a page, then for flags
 *   (rdma-umem R30).
 */
export function checkVerb(
  { offset, iova, access }: Pick<Asked, "offset" | "iova" | "access">,
  syscall: string,
): void {
  const rule = "rdma-umem R30";
  if (iova < 0n || iova >= ADDRESS_LIMIT) {
    throw new DmaBufError("EINVAL", syscall, `iova ${hex(iova)} leaves 64 bits`, { rule });
  }
  if (((offset ^ iova) & 0xfffn) !== 0n) {
    throw new DmaBufError(
      "EINVAL",
      syscall,
      `offset ${hex(offset)} and iova ${hex(iova)} differ in their low 12 bits`,
      { rule },
    );
  }
  checkAccess(access, syscall);
}

/**
 * What verb and driver look at before any memory is taken, in their order.
 *
 * @throws DmaBufError as {@link checkVerb}; then EOPNOTSUPP for a data-direct region that begins inside a page (rdma-umem R25), EINVAL for
 *   one longer than the device takes (R26).
 */
export function checkMemory(
  asked: Asked,
  mode: MrMode,
  profile: ProviderProfile,
  syscall: string,
): void {
  const { length, iova } = asked;
  checkVerb(asked, syscall);
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
