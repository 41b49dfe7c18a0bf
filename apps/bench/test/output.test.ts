import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { GrowthRow } from "../src/case.js";
import { machineFacts } from "../src/facts.js";
import { formatResults, writeResults } from "../src/output.js";

const folder = mkdtempSync(join(tmpdir(), "peerbar-bench-test-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const growth: GrowthRow = {
  id: "a/series",
  unit: "things",
  cost: "ns",
  points: [
    { size: 100, value: 1_000, rounds: [1_000] },
    { size: 10_000, value: 100_000, rounds: [100_000] },
  ],
  exponent: 1,
  r2: 1,
  target: 1.15,
  verdict: "pass",
};

test("the result is written with the machine's facts, and a plot for each series beside it", () => {
  const path = join(folder, "run.json");
  const results = { rows: [], growth: [growth], memory: [], skipped: [{ id: "x/y", reason: "z" }] };
  const files = writeResults(path, results, machineFacts());
  expect(files).toEqual([path, join(folder, "run.a-series.svg")]);
  const written: unknown = JSON.parse(readFileSync(path, "utf8"));
  expect(written).toMatchObject({
    schemaVersion: 3,
    machine: { node: process.version, arch: process.arch },
    growth: [growth],
    skipped: [{ id: "x/y", reason: "z" }],
  });
  const svg = readFileSync(join(folder, "run.a-series.svg"), "utf8");
  expect(svg).toMatch(/^<svg .*<\/svg>\s*$/s);
  expect(svg).toContain("a/series");
  expect(svg).toContain("things");
  expect(svg).toContain("1.00");
});

test("published numbers stand only beside what was measured, and are marked as published", () => {
  const row = {
    id: "iommu-mock/map-unmap-4k",
    ns: 20,
    spread: 0.01,
    yardstick: "C",
    yardstickNs: 6,
    ratio: 3.3,
    ratios: [3.3],
    target: 8,
    verdict: "pass",
  } as const;
  const text = formatResults({ rows: [row], growth: [], memory: [], skipped: [] });
  expect(text).toMatch(/published, from another machine/);
  expect(text).toContain("53 to 57 ns");
  expect(text).not.toContain("NCCL");
});
