import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BenchRow } from "../src/case.js";
import { program } from "../src/program.js";
import { hasFailed } from "../src/targets.js";

/** Seconds: it measures for real, on a machine that may be busy. */
const PATIENCE = 300_000;

interface ResultFile {
  schemaVersion: number;
  rows: BenchRow[];
}

const folder = mkdtempSync(join(tmpdir(), "peerbar-bench-test-"));
const before = join(folder, "before.json");
const read = (path: string): ResultFile => JSON.parse(readFileSync(path, "utf8")) as ResultFile;
const ids = (): string[] => read(before).rows.map(({ id }) => id);

async function bench(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ["", ""];
  const code = await program(args, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
  });
  return { code, out, err };
}

/** What the comparison says of a case: its line's last word. */
function kindOf(out: string, id: string): string | undefined {
  const comparison = out.slice(out.indexOf("\nbaseline: "));
  const line = comparison.split("\n").find((text) => text.startsWith(`${id} `));
  return line?.split(/ +/).at(-1);
}

beforeAll(async () => {
  const { out } = await bench("core", "--quick", "--json", before);
  for (const id of ids()) expect(out).toContain(id);
}, PATIENCE);
afterAll(() => {
  rmSync(folder, { recursive: true });
});

test("a second run is compared case by case, and ends as its verdicts say", {
  timeout: PATIENCE,
}, async () => {
  const after = join(folder, "after.json");
  const { code, out } = await bench("core", "--quick", "--baseline", before, "--json", after);
  expect(ids()).toContain("core/share-one-range");
  const kinds = ids().map((id) => kindOf(out, id));
  for (const kind of kinds) expect(["same", "worse", "better", "tell"]).toContain(kind);
  const values = read(after).rows.map(({ ratio, target }) => ({ value: ratio, target }));
  expect(code).toBe(kinds.includes("worse") || hasFailed(values, true) ? 1 : 0);
});

test("against a baseline that was a hundred times faster a case is slower, and the run fails", {
  timeout: PATIENCE,
}, async () => {
  const tampered = join(folder, "tampered.json");
  const { rows, ...rest } = read(before);
  const scale = (id: string): number => (id === "core/share-one-range" ? 0.01 : 100);
  writeFileSync(
    tampered,
    JSON.stringify({
      ...rest,
      rows: rows.map((row) => ({ ...row, ratios: row.ratios.map((r) => r * scale(row.id)) })),
    }),
  );
  const { code, out } = await bench("core", "--quick", "--baseline", tampered);
  expect(code).toBe(1);
  expect(out).toMatch(/^core\/revoke +exponent /m);
  for (const id of ids())
    expect(`${id} ${kindOf(out, id) ?? ""}`).toBe(`${id} ${scale(id) < 1 ? "worse" : "better"}`);
});

test.each([
  ["one that is absent", undefined],
  ["one that is no JSON", "ratio 1.2"],
  ["the result of another program", '{"results":[]}'],
  [
    "one with a row that is null",
    '{"schemaVersion":3,"machine":{"cpu":"x"},"rows":[null],"growth":[],"memory":[]}',
  ],
  [
    "one of other suites",
    '{"schemaVersion":3,"machine":{"cpu":"x"},"rows":[{"id":"a/b","ratios":[1]}],"growth":[],"memory":[]}',
  ],
  ["one of another version", '{"schemaVersion":2,"machine":{"cpu":"x"},"rows":[]}'],
])("a baseline is refused in one line before anything runs: %s", async (name, text) => {
  const path = join(folder, `${name}.json`);
  if (text !== undefined) writeFileSync(path, text);
  const { code, out, err } = await bench("core", "--quick", "--baseline", path);
  expect([code, out]).toEqual([2, ""]);
  expect(err).toMatch(/^bench: [^\n]+\n$/);
  expect(err).toContain(path);
});

test.each([
  [["cores"], /no suite cores; there are topology, core,/],
  [["--fast"], /--fast/],
  [["core", "--exporter", "x"], /belong to combo/],
  [["core", "--json", join(folder, "absent", "x.json")], /absent/],
  [["core", "--json", folder], /EISDIR/],
  [["combo", "--json", folder], /EISDIR/],
])("%j is refused in one line", async (args, text) => {
  const { code, out, err } = await bench(...args);
  expect([code, out]).toEqual([2, ""]);
  expect(err).toMatch(/^bench: [^\n]+\n$/);
  expect(err).toMatch(text);
});
