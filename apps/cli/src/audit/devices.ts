import type { PciTopology } from "@peerbar/p2pdma";
import { kindOf } from "@peerbar/words";

/** What matters of a machine, in a few words: `8 GPU, 12 NIC, 5 NVMe`; virtual functions left out. */
export function devicesOf(topology: PciTopology): string {
  const counts = new Map<string, number>();
  for (const fn of topology.functions) {
    const kind = fn.physfn >= 0 ? undefined : kindOf(fn);
    if (kind !== undefined) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  if (counts.size === 0) return `${String(topology.functions.length)} functions`;
  return [...counts].map(([kind, count]) => `${String(count)} ${kind}`).join(", ");
}
