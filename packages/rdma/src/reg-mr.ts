import { type DmaBuf, DmaBufError } from "@peerbar/core";
import { MrAccess, withoutOnDemand } from "./access.js";
import { checkVerb, modeOf } from "./mr-checks.js";
import type { MrRequest } from "./mr-request.js";
import type { MrMode, ProviderProfile } from "./profile.js";

/** Attributes of the REG_MR method. */
export interface RegMrAttributes {
  /** FD: wants `fdOffset`, forbids `addr`. */
  readonly buffer?: DmaBuf | undefined;
  /** FD_OFFSET: bytes from the start of the buffer. */
  readonly fdOffset?: bigint | undefined;
  /** ADDR: user memory instead of a buffer. This library has none. */
  readonly addr?: bigint | undefined;
  /** Bytes. */
  readonly length: bigint;
  /** Address of the region's first byte in work requests (rdma-umem R30). */
  readonly iova: bigint;
  /** `MrAccess` bits, ON_DEMAND among them. */
  readonly access: number;
  /** DMA_HANDLE: steering hints, which many drivers refuse. */
  readonly dmaHandle?: object | undefined;
  readonly mode?: MrMode | undefined;
}

/**
 * The checks of REG_MR that REG_DMABUF_MR does not have (rdma-umem R31), and those of the verb between them.
 *
 * @throws DmaBufError EINVAL for a wrong set of attributes; EOPNOTSUPP for user memory; EOPNOTSUPP and EINVAL of the verb (R30); then the
 *   driver's EOPNOTSUPP for a DMA handle (R26), and for ON_DEMAND of a region that does not page (R25).
 */
export function resolveRegMr(
  attributes: RegMrAttributes,
  profile: ProviderProfile,
): { readonly buffer: DmaBuf; readonly request: MrRequest } {
  const { buffer, fdOffset, addr, access, dmaHandle, ...rest } = attributes;
  if ((access as number | undefined) === undefined) throw invalid("the access flags are missing");
  if (buffer === undefined) {
    if (addr === undefined || fdOffset !== undefined) {
      throw invalid("without a buffer it wants addr and no fdOffset");
    }
    throw new DmaBufError("EOPNOTSUPP", "rdma.regMr", "there is no user memory here", {
      hint: "export the memory as a dma-buf and pass it as buffer",
      rule: "rdma-umem R31",
    });
  }
  if (fdOffset === undefined || addr !== undefined) {
    throw invalid("with a buffer it wants fdOffset and no addr");
  }
  const mode = modeOf(profile, rest.mode);
  const request = { ...rest, offset: fdOffset, access: withoutOnDemand(access) };
  checkVerb(request, "rdma.regMr");
  if (dmaHandle !== undefined && !profile.takesDmaHandle) {
    throw new DmaBufError("EOPNOTSUPP", "rdma.regMr", `${profile.name} takes no DMA handle`, {
      rule: "rdma-umem R31",
    });
  }
  if ((access & MrAccess.ON_DEMAND) !== 0 && mode !== "dynamic") {
    throw new DmaBufError("EOPNOTSUPP", "rdma.regMr", `ON_DEMAND of a ${mode} region`, {
      rule: "rdma-umem R25",
    });
  }
  return { buffer, request };
}

function invalid(reason: string): DmaBufError {
  return new DmaBufError("EINVAL", "rdma.regMr", reason, { rule: "rdma-umem R31" });
}
