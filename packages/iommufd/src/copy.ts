import {
  type AddressSpace,
  type DmaAccess,
  DmaBufError,
  hex,
  type Iova,
  iova as toIova,
} from "@peerbar/core";
import { Area } from "./area.js";
import type { AreaList } from "./area-list.js";
import { checkAccess, checkSpan, ULONG_MAX, writes } from "./range.js";

export interface CopyRequest {
  readonly sourceIova: Iova;
  readonly length: bigint;
  readonly iova: Iova | undefined;
  readonly access: DmaAccess;
}

type Part = ReturnType<AreaList["contiguous"]>[number];

/** The areas of an IOMMU_IOAS_COPY, in the order of their IOVAs; nothing is left where it fails (iommufd R24). */
export function copyAreas(
  source: { readonly space: AddressSpace; readonly areas: AreaList },
  target: AddressSpace,
  request: CopyRequest,
): Area[] {
  const { sourceIova, length, access } = request;
  checkCopy(request);
  const parts = source.areas.contiguous(sourceIova, length, "iommufd.copy", "iommufd R24");
  const widens = writes(access) && parts.some(({ area }) => !area.pages.writable);
  // The kernel finds a place, looks at the permission, then at the domains: EPERM is after iommufd M16 to M18 and before M19 and M20. A
  // backend that knows who may write has that order.
  const placed = target.copy(source.space, sourceIova, length, { iova: request.iova, access });
  const [only] = parts;
  if (!widens && parts.length === 1 && only !== undefined) {
    return [new Area(target, only.area.pages, sliceOf(only), access, placed)];
  }
  target.unmap(placed.iova, placed.length);
  if (widens) {
    throw new DmaBufError("EPERM", "iommufd.copy", "the source was mapped read-only", {
      hint: 'copy with access "r", or map the buffer again',
      rule: "iommufd R24",
    });
  }
  return copyParts(source.space, target, parts, placed.iova, request);
}

/** One area for each source area, side by side: each belongs to its own buffer and is revoked with it. */
function copyParts(
  source: AddressSpace,
  target: AddressSpace,
  parts: readonly Part[],
  at: Iova,
  { sourceIova, access }: CopyRequest,
): Area[] {
  const copied: Area[] = [];
  let done = 0n;
  try {
    for (const part of parts) {
      const mapping = target.copy(source, toIova(sourceIova + done), part.length, {
        iova: toIova(at + done),
        access,
      });
      copied.push(new Area(target, part.area.pages, sliceOf(part), access, mapping));
      done += part.length;
    }
  } catch (error) {
    for (const area of copied) area.unmap();
    throw error;
  }
  return copied;
}

function sliceOf({ area, offset, length }: Part): { offset: bigint; length: bigint } {
  return { offset: area.slice.offset + offset, length };
}

function checkCopy({ sourceIova, length, iova, access }: CopyRequest): void {
  checkSpan(iova, length, "iommufd R24", "iommufd.copy");
  checkSpan(sourceIova, length, "iommufd R24", "iommufd.copy");
  checkAccess(access, "iommufd R24", "iommufd.copy");
  if (length === 0n) {
    throw new DmaBufError("EINVAL", "iommufd.copy", "a length of 0 bytes", { rule: "iommufd R24" });
  }
  if (sourceIova + length - 1n > ULONG_MAX) {
    throw new DmaBufError(
      "EOVERFLOW",
      "iommufd.copy",
      `${hex(sourceIova)} + ${hex(length)} wraps`,
      {
        rule: "iommufd R24",
      },
    );
  }
}
