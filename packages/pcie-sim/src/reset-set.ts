import { DmaBufError, type Scheduler } from "@peerbar/core";
import type { SimFunction } from "./sim-function.js";

/**
 * What one reset of the bus behind a bridge takes with it: every function below, in address order. That is also vfio's device set of a
 * hot reset, narrowed to what is there.
 */
export function functionsBelow(
  functions: readonly SimFunction[],
  bridge: SimFunction,
): SimFunction[] {
  const index = functions.indexOf(bridge);
  const below = new Set([index]);
  // Parents come before their children only by bus number, so go on until nothing is added.
  for (let size = 0; size !== below.size; ) {
    size = below.size;
    for (const [i, fn] of functions.entries()) if (below.has(fn.info.parent)) below.add(i);
  }
  below.delete(index);
  return functions.filter((_, i) => below.has(i));
}

/**
 * Secondary bus reset as the PCI core does it: every function below is woken to D0 and saved, all are reset at once, all are restored.
 *
 * @throws DmaBufError EBUSY where one of them is being reset; nothing is touched then.
 */
export async function resetTogether(
  set: readonly SimFunction[],
  scheduler: Scheduler,
  on: string,
): Promise<void> {
  const busy = set.find((fn) => fn.resetting);
  if (busy !== undefined) {
    throw new DmaBufError("EBUSY", "machine.resetBus", `${busy.name} is being reset`);
  }
  const resets = set.filter((fn) => fn.present).map((fn) => ({ fn, saved: fn.wakeAndSave() }));
  for (const { fn, saved } of resets) fn.beginReset(saved);
  try {
    await scheduler.yield({ kind: "latency", on: `${on} bus reset` });
  } finally {
    for (const { fn, saved } of resets) fn.endReset(saved);
  }
}
