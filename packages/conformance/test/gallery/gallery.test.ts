import { writeFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { formatDocument } from "./document.js";
import { gallery, knownIds } from "./gallery.js";
import { formatResults, runTrial, type TrialResult } from "./run.js";

const results: TrialResult[] = [];

const cases = gallery.flatMap((entry) =>
  entry.trials.map((trial) => ({ id: entry.id, title: entry.title, entry, trial })),
);

describe("known-bugs B1 to B61 and vfio-pci-dmabuf D1 to D10: the gallery of defects", () => {
  it("has every one of them, with a check or the reason why it cannot exist here", () => {
    expect(gallery.map(({ id }) => id)).toEqual(knownIds);
    const neither = gallery.filter(({ trials, absent }) => trials.length === 0 && !absent);
    expect(neither.map(({ id }) => id)).toEqual([]);
  });

  it.each(cases)("$id, $title: $trial.check finds it", async ({ entry, trial }) => {
    const result = await runTrial(entry, trial);
    results.push(result);
    expect(result.falseAlarms).toEqual([]);
    expect(result.caught, `${entry.id} survived ${trial.check}: ${trial.names}`).toBeDefined();
  });

  it("docs/gallery.md is what ran (write it with `pnpm gallery`)", async () => {
    await expect(formatDocument(gallery)).toMatchFileSnapshot("../../../../docs/gallery.md");
  });
});

afterAll(() => {
  const table = process.env.GALLERY_TABLE;
  if (table !== undefined) writeFileSync(table, formatResults(gallery, results));
});
