import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { compare, type Measurements, readBaseline } from "../src/baseline.js";
import { Comparison } from "../src/comparison.js";
import { machineFacts } from "../src/facts.js";

const folder = mkdtempSync(join(tmpdir(), "peerbar-bench-test-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const nothing: Measurements = { rows: [], growth: [], memory: [] };
const rows = (...ratios: number[]): Measurements => ({
  ...nothing,
  rows: [{ id: "a/one", ratios }],
});
const memory = (bytes: number): Measurements => ({ ...nothing, memory: [{ id: "a/kept", bytes }] });
/** A series whose rounds have these exponents exactly. */
const growth = (exponents: readonly number[], sizes = [10, 100, 1000]): Measurements => ({
  ...nothing,
  growth: [
    {
      id: "a/series",
      points: sizes.map((size) => {
        const rounds = exponents.map((k) => 5 * size ** k);
        return { size, value: rounds[0] ?? 0, rounds };
      }),
    },
  ],
});
const before = rows(10, 10.1, 9.9, 10.2, 9.8);

test.each([
  // Every round beyond every round, and by more than a quarter.
  ["worse", [13, 13.1, 13.2, 12.9, 13.3]],
  ["better", [7.5, 7.6, 7.7, 7.4, 7.8]],
  // Significant, but no more than two processes of one build may differ by.
  ["same", [11.8, 11.9, 12, 11.7, 12.1]],
  // Far in the median, but one of five rounds was as fast as ever: noise.
  ["same", [13, 9.7, 12, 9.75, 14]],
  // The same, three times as far: it may well be more.
  ["cannot tell", [30, 9.7, 32, 9.75, 34]],
] as const)("%s, by a test of the rounds", (kind, ratios) => {
  expect(compare(before, rows(...ratios))).toMatchObject([{ id: "a/one", kind }]);
});

test.each([
  ["worse", 10, 100],
  ["better", 100, 10],
  ["worse", 10, 15.1],
  ["cannot tell", 10, 14],
  ["cannot tell", 10, 10],
] as const)("%s, of one round that went from %d to %d", (kind, old, now) => {
  const [change] = compare(rows(old), rows(now));
  expect(change).toMatchObject({ kind, p: undefined });
});

test.each([
  ["worse", 9, 90],
  ["better", 90, 9],
  ["worse", 1000, 1510],
  ["cannot tell", 1000, 1490],
  // Less than a byte of a thing is what the collector happened to leave.
  ["cannot tell", 0.1, 0.9],
  ["cannot tell", -0.3, 0.3],
  ["worse", -0.3, 8],
] as const)("memory is compared: %s where %d bytes became %d", (kind, old, now) => {
  expect(compare(memory(old), memory(now))).toMatchObject([{ id: "a/kept", what: "bytes", kind }]);
});

test.each([
  ["worse", [1.5, 1.51]],
  ["better", [0.5, 0.51]],
  ["cannot tell", [1.2, 1.21]],
] as const)("growth is compared: %s, of two rounds", (kind, now) => {
  expect(compare(growth([1, 1.01]), growth(now))).toMatchObject([{ what: "exponent", kind }]);
});

test("growth of many rounds is tested, over the sizes that both sides have", () => {
  const seven = (k: number): number[] => [0, 1, 2, 3, 4, 5, 6].map((i) => k + i / 1000);
  const change = (now: number, sizes?: number[]) =>
    compare(growth(seven(1)), growth(seven(now), sizes))[0];
  expect(change(1.2)?.kind).toBe("worse");
  expect(change(1.1)?.kind).toBe("same");
  expect(change(1.2, [100, 1000, 10_000])?.now).toBeCloseTo(1.203);
  expect(change(1.2, [1000, 10_000])).toBeUndefined();
});

test("cases that only one side has are not compared", () => {
  expect(compare(before, { ...nothing, rows: [{ id: "a/two", ratios: [1] }] })).toEqual([]);
  expect(compare(before, nothing)).toEqual([]);
});

const write = (name: string, document: unknown): string => {
  const path = join(folder, `${name}.json`);
  writeFileSync(path, typeof document === "string" ? document : JSON.stringify(document));
  return path;
};
const result = (more: object) => ({
  schemaVersion: 3,
  machine: machineFacts(),
  ...nothing,
  ...more,
});

test("what only one side has is said; with nothing in common there is no comparison", () => {
  const path = write("one", result({ rows: before.rows, memory: memory(9).memory }));
  const asked = ["a/one", "a/kept (bytes)", "a/new"];
  const now = {
    ...before,
    growth: [],
    memory: [],
    rows: [...before.rows, { id: "a/new", ratios: [1] }],
  };
  const { text, worse } = new Comparison(path, asked).judge(now, asked);
  expect(worse).toBe(false);
  expect(text).toContain("not in the baseline: a/new");
  expect(text).toContain("in the baseline, and not measured now: a/kept (bytes)");
  expect(() => new Comparison(path, ["b/other"])).toThrow(
    `${path} has nothing of what is to be measured; it has a/one, a/kept (bytes)`,
  );
  expect(() => new Comparison(write("empty", result({})), asked)).toThrow("it has no row");
  expect(() => new Comparison(path, asked).judge(nothing, asked)).toThrow("nothing that");
});

test.each<[string, unknown]>([
  ["not JSON", "{"],
  ["another version", result({ schemaVersion: 2 })],
  ["no rows", { schemaVersion: 3 }],
  ["no machine", result({ machine: {} })],
  ["a row that is null", result({ rows: [null] })],
  ["rows without ratios", result({ rows: [{ id: "a/one" }] })],
  ["a row of no round", result({ rows: [{ id: "a/one", ratios: [] }] })],
  ["a ratio of 0", result({ rows: [{ id: "a/one", ratios: [0] }] })],
  ["a series that is null", result({ growth: [null] })],
  ["a point that is null", result({ growth: [{ id: "a/series", points: [null] }] })],
  ["memory that is null", result({ memory: [null] })],
  ["memory without bytes", result({ memory: [{ id: "a/kept" }] })],
])("a baseline that is none is refused by name: %s", (name, document) => {
  const path = write(name, document);
  expect(() => readBaseline(path)).toThrow(path);
});

test("a result is read back", () => {
  const path = write("result", result({ rows: before.rows }));
  expect(readBaseline(path).rows).toEqual(before.rows);
  expect(() => readBaseline(join(folder, "absent.json"))).toThrow("absent.json");
});
