import { bufferEntries } from "./buffer-entries.js";
import type { Entry } from "./entry.js";
import { exporterEntries } from "./exporter-entries.js";
import { iommufdEntries, rdmaEntries } from "./importer-entries.js";
import { draftEntries, tableEntries } from "./table-entries.js";
import { topologyEntries } from "./topology-entries.js";

const all: readonly Entry[] = [
  ...exporterEntries,
  ...tableEntries,
  ...iommufdEntries,
  ...rdmaEntries,
  ...topologyEntries,
  ...bufferEntries,
  ...draftEntries,
];

/** Every known defect, in order of its number. */
export const gallery: readonly Entry[] = [...all].sort(
  (a, b) => order(a.id) - order(b.id) || a.id.localeCompare(b.id),
);

/** What must be in it: `B1` to `B61` and `D1` to `D10`. */
export const knownIds: readonly string[] = [
  ...Array.from({ length: 61 }, (_, i) => `B${String(i + 1)}`),
  ...Array.from({ length: 10 }, (_, i) => `D${String(i + 1)}`),
];

function order(id: string): number {
  return Number(id.slice(1)) + (id.startsWith("D") ? 1000 : 0);
}
