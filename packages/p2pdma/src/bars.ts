import type { PciBarInfo } from "./topology.js";

/** Whether peers can be given a BAR: memory only (p2pdma R2), and only where it has an address. */
export function isSharable(bar: PciBarInfo): boolean {
  return bar.kind === "memory" && (bar.start !== 0n || bar.busStart !== 0n);
}
