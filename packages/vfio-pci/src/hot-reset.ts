import { DmaBufError, type LockGuard, type WaitOptions } from "@peerbar/core";
import { givenUp, type MemoryGate } from "./memory-gate.js";

const SYSCALL = "vfio.hotReset";

/**
 * `vfio_pci_dev_set_hot_reset`: every device of the set is locked by trylock, revoked, then zapped (in that order, unlike all other
 * triggers), then all are woken and reset together.
 *
 * @throws DmaBufError EBUSY where a member's memory lock is held: everything is unwound, restored where memory decodes. What the reset
 *   threw. EINTR, ETIMEDOUT: buffers revoked so far stay so.
 */
export async function hotReset(
  gates: readonly MemoryGate[],
  resetBus: () => Promise<void>,
  options: WaitOptions | undefined,
): Promise<void> {
  const guards: LockGuard[] = [];
  try {
    await shutAll(gates, guards, options);
    for (const gate of gates) gate.setPower(0);
    try {
      await resetBus();
    } finally {
      for (const gate of gates) await gate.reopen(options);
    }
  } catch (error) {
    throw givenUp(SYSCALL, error, gates);
  } finally {
    for (const guard of guards.reverse()) guard.release();
  }
}

async function shutAll(
  gates: readonly MemoryGate[],
  guards: LockGuard[],
  options: WaitOptions | undefined,
): Promise<void> {
  for (const [i, gate] of gates.entries()) {
    const guard = gate.tryLock();
    if (guard === undefined) {
      for (const locked of gates.slice(0, i).reverse()) await locked.reopen(options);
      throw new DmaBufError("EBUSY", SYSCALL, `${gate.fn.pciAddress} is busy`, {
        hint: "another reset, config write or close of that function is going on: try again",
        rule: "vfio-pci-dmabuf, lock order",
      });
    }
    guards.push(guard);
    gate.announce("hot-reset");
    await gate.list.move(true, options);
    gate.zap();
  }
}
