import { expect, it } from "vitest";
import { iommufdEntries, rdmaEntries } from "./importer-entries.js";
import { draftEntries, tableEntries } from "./table-entries.js";

const exporterEntries = [...iommufdEntries, ...rdmaEntries, ...draftEntries, ...tableEntries];

for (const e of exporterEntries)
  for (const t of e.trials)
    it(`${e.id} ${t.names}`, async () => {
      const m = await t.mutant();
      expect(m.some((x) => x.includes(t.names)) ? "" : m.join("\n")).toBe("");
      expect(m.length).toBeGreaterThan(0);
      expect(await t.right()).toEqual([]);
    });
