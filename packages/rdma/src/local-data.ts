import { DmaBufError } from "@peerbar/core";
import { isU32, MrAccess } from "./access.js";
import type { MemoryRegion } from "./memory-region.js";
import type { Pd } from "./pd.js";
import { type DmaResult, denied, moveRegion } from "./region-dma.js";

/** A stretch of a registered region: `struct ib_sge`. */
export interface Sge {
  /** Local key of the region. */
  readonly lkey: number;
  /** Address in the region, by its IOVA. */
  readonly addr: bigint;
  /** Bytes. */
  readonly length: number;
}

/** Where the local side of a work request is: host memory of the caller's, or registered regions in order. */
export type LocalData = Uint8Array | readonly Sge[];

/**
 * What posting refuses: a request that cannot be run must not stand in the queue.
 *
 * @throws DmaBufError EINVAL for a length that no u32 can carry (`struct ib_sge`).
 */
export function checkLocal(local: LocalData, syscall: string): void {
  if (local instanceof Uint8Array) return;
  const wrong = local.find(({ length }) => !isU32(length));
  if (wrong === undefined) return;
  throw new DmaBufError("EINVAL", syscall, `an sge of ${String(wrong.length)} bytes`);
}

/** Bytes in all. */
export function localLength(local: LocalData): number {
  if (local instanceof Uint8Array) return local.length;
  return local.reduce((sum, sge) => sum + sge.length, 0);
}

/** Reads `[offset, offset + into.length)` of the local side. */
export function gather(
  pd: Pd,
  local: LocalData,
  offset: number,
  into: Uint8Array,
): Promise<DmaResult> {
  if (local instanceof Uint8Array) {
    into.set(local.subarray(offset, offset + into.length));
    return Promise.resolve({ ok: true });
  }
  return overSges(pd, local, offset, into, "read");
}

/** Writes `bytes` at `offset` of the local side; regions need LOCAL_WRITE. */
export function scatter(
  pd: Pd,
  local: LocalData,
  offset: number,
  bytes: Uint8Array,
): Promise<DmaResult> {
  if (local instanceof Uint8Array) {
    local.set(bytes, offset);
    return Promise.resolve({ ok: true });
  }
  return overSges(pd, local, offset, bytes, "write");
}

async function overSges(
  pd: Pd,
  sges: readonly Sge[],
  offset: number,
  bytes: Uint8Array,
  kind: "read" | "write",
): Promise<DmaResult> {
  const access = kind === "write" ? MrAccess.LOCAL_WRITE : 0;
  let skip = offset;
  let done = 0;
  for (const { lkey, addr, length } of sges) {
    if (skip >= length) {
      skip -= length;
      continue;
    }
    const now = Math.min(length - skip, bytes.length - done);
    const part = bytes.subarray(done, done + now);
    const at = addr + BigInt(skip);
    const result = await accessRegion(pd.device.region(lkey), pd, at, part, access, kind);
    if (!result.ok) return { ...result, moved: done + result.moved };
    done += now;
    skip = 0;
    if (done === bytes.length) break;
  }
  return { ok: true };
}

/** Checks the key as the hardware does, then moves the bytes. */
export function accessRegion(
  mr: MemoryRegion | undefined,
  pd: Pd,
  address: bigint,
  bytes: Uint8Array,
  access: number,
  kind: "read" | "write",
): Promise<DmaResult> {
  const detail = denied(mr, pd, address, bytes.length, access);
  if (mr === undefined || detail !== undefined) {
    const why = { ok: false, why: "protection", detail: detail ?? "no region", moved: 0 } as const;
    return Promise.resolve(why);
  }
  return moveRegion(mr, address, bytes, kind);
}
