import { DmaBufError } from "./error.js";
import { type Fence, type FenceUsage, usageFor } from "./fence.js";
import { signaledFence, unwrapFences } from "./fence-container.js";
import type { Reservation } from "./reservation.js";
import type { WaitOptions } from "./wait.js";

/** Access that a sync file speaks of: READ=1, WRITE=2, RW=3 of the kernel's flags. */
export type SyncAccess = "read" | "write" | "rw";

/** A fence as a file (`struct sync_file`): how explicit synchronisation leaves and enters a buffer. */
export class SyncFile {
  readonly fence: Fence;

  /** @param fence - what the file stands for; not signalled by it */
  constructor(fence: Fence) {
    this.fence = fence;
  }
}

/** @internal What an access of that kind must wait for, as one fence (dma-buf R45). */
export function snapshotFence(reservation: Reservation, access: SyncAccess): SyncFile {
  const usage = usageFor(checked(access, "dmabuf.exportSyncFile") === "read" ? "read" : "write");
  return new SyncFile(reservation.singleton(usage) ?? signaledFence);
}

/** @internal Adds every plain fence inside, under the reservation (dma-buf R46). */
export async function importFence(
  reservation: Reservation,
  file: SyncFile,
  access: SyncAccess,
  options: WaitOptions | undefined,
): Promise<void> {
  const usage: FenceUsage = checked(access, "dmabuf.importSyncFile") === "read" ? "read" : "write";
  const fences = unwrapFences(file.fence);
  if (fences.length === 0) return;
  await reservation.hold((held) => {
    reservation.reserveFences(held, fences.length);
    for (const fence of fences) reservation.addFence(held, fence, usage);
  }, options);
}

const accesses: readonly string[] = ["read", "write", "rw"] satisfies SyncAccess[];

function checked(access: SyncAccess, syscall: string): SyncAccess {
  if (accesses.includes(access)) return access;
  throw new DmaBufError("EINVAL", syscall, `no access ${access}`, {
    rule: syscall === "dmabuf.exportSyncFile" ? "dma-buf R45" : "dma-buf R46",
  });
}
