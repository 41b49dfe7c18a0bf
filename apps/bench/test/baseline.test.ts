import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { compare, readBaseline } from "../src/baseline.js";
import { machineFacts } from "../src/facts.js";

const folder = mkdtempSync(join(tmpdir(), "peerbar-bench-test-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const row = (id: string, ...ratios: number[]) => ({ id, ratios });
const before = [row("a/one", 10, 10.1, 9.9, 10.2, 9.8)];

test.each([
  // Every round beyond every round, and by more than a tenth.
  ["slower", [12, 12.1, 12.2, 11.9, 12.3]],
  ["faster", [8, 8.1, 8.2, 7.9, 8.3]],
  // Significant, but too little to matter.
  ["same", [10.4, 10.5, 10.6, 10.7, 10.8]],
  // Far in the median, but one of five rounds was as fast as ever: noise.
  ["same", [13, 9.7, 12, 9.75, 14]],
] as const)("%s", (kind, ratios) => {
  expect(compare(before, [row("a/one", ...ratios)])).toMatchObject([{ id: "a/one", kind }]);
});

test("cases that only one side has are left out", () => {
  expect(compare(before, [row("a/two", 1, 1, 1, 1, 1)])).toEqual([]);
  expect(compare(before, [])).toEqual([]);
});

test.each([
  ["not JSON", "{"],
  ["another version", '{"schemaVersion":1,"rows":[]}'],
  ["no rows", '{"schemaVersion":2}'],
  ["no machine", '{"schemaVersion":2,"machine":{},"rows":[]}'],
  ["rows without ratios", '{"schemaVersion":2,"machine":{"cpu":"x"},"rows":[{"id":"a/one"}]}'],
])("a baseline that is none is refused by name: %s", (name, text) => {
  const path = join(folder, `${name}.json`);
  writeFileSync(path, text);
  expect(() => readBaseline(path)).toThrow(path);
});

test("a result is read back", () => {
  const path = join(folder, "result.json");
  writeFileSync(path, JSON.stringify({ schemaVersion: 2, machine: machineFacts(), rows: before }));
  expect(readBaseline(path).rows).toEqual(before);
  expect(() => readBaseline(join(folder, "absent.json"))).toThrow("absent.json");
});
