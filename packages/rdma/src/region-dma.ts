import type { DmaAddr, DmaCompletion, DmaEngine } from "@peerbar/core";
import type { Backing } from "./backing.js";
import type { MemoryRegion } from "./memory-region.js";
import type { Pd } from "./pd.js";

/** Longest stretch that one engine request moves, in bytes: how late a running transfer notices a revoke. */
export const BURST_BYTES = 64 * 1024;

/** How a part of a transfer ended, as the side that owns the region sees it. */
export type DmaResult =
  | { readonly ok: true }
  | {
      readonly ok: false;
      /** `protection`: the region does not allow or no longer translates it. `operation`: the bus refused. */
      readonly why: "protection" | "operation";
      readonly detail: string;
      /** Bytes moved before. */
      readonly moved: number;
    };

const OK: DmaResult = { ok: true };

/** Why a work request may not use a region; undefined where it may. Checked before each transfer, as the hardware does. */
export function denied(
  mr: MemoryRegion | undefined,
  pd: Pd,
  address: bigint,
  length: number,
  access: number,
): string | undefined {
  if (mr?.backing === undefined) return "no region has that key";
  if (mr.pd !== pd) return "the region is of another protection domain";
  if ((mr.access & access) !== access) return "the region does not allow that access";
  return isOutside(mr, address, length) ? "outside the region" : undefined;
}

function isOutside(mr: MemoryRegion, address: bigint, length: number): boolean {
  return address < mr.iova || address + BigInt(length) > mr.iova + mr.length;
}

/** Moves bytes between `bytes` and the region, by DMA of the region's device, burst by burst. Never throws. */
export async function moveRegion(
  mr: MemoryRegion,
  address: bigint,
  bytes: Uint8Array,
  kind: "read" | "write",
): Promise<DmaResult> {
  let moved = 0;
  while (moved < bytes.length) {
    const { backing } = mr;
    const { engine, translation } = backing ?? {};
    if (backing === undefined) return failed("protection", "the region is gone", moved);
    if (isOutside(mr, address, bytes.length))
      return failed("protection", "outside the region", moved);
    if (engine === undefined) return failed("operation", "no DMA engine", moved);
    if (translation === undefined) {
      const problem = await faultIn(backing);
      if (problem !== undefined) return failed("protection", problem, moved);
      continue;
    }
    const span = translation.locate(Number(address - mr.iova) + moved);
    const length = Math.min(span.length, BURST_BYTES, bytes.length - moved);
    const part = bytes.subarray(moved, moved + length);
    const { status, transferred } = await burst(backing, engine, span.address, part, kind);
    moved += status === "ok" ? length : transferred;
    if (status === "ok") continue;
    // Invalidated while on the wires: the next round faults again, or finds the region dead.
    if (mr.backing?.translation === translation) return failed("operation", status, moved);
  }
  return OK;
}

async function burst(
  backing: Backing,
  engine: DmaEngine,
  address: DmaAddr,
  part: Uint8Array,
  kind: "read" | "write",
): Promise<DmaCompletion> {
  backing.inFlight.begin();
  try {
    return kind === "write" ? await engine.write(address, part) : await engine.read(address, part);
  } finally {
    backing.inFlight.end();
  }
}

/** A page fault of the hardware: what went wrong, or undefined where the translation is back. */
async function faultIn(backing: Backing): Promise<string | undefined> {
  try {
    await backing.fault();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function failed(why: "protection" | "operation", detail: string, moved: number): DmaResult {
  return { ok: false, why, detail, moved };
}
