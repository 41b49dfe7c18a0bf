import { expect, test } from "vitest";
import { quick } from "../src/measure.js";
import { suites } from "../src/suites.js";
import { hasFailed, limitsOf, verdictOf } from "../src/targets.js";
import targets from "../targets.json" with { type: "json" };

const all = Object.entries(suites);
const sorted = (ids: readonly string[]): string[] => [...ids].sort();

test("everything measured has a target with a reason, and no target is left over", () => {
  expect(sorted(Object.keys(targets.ratios))).toEqual(
    sorted(all.flatMap(([, { cases }]) => cases.map(({ id }) => id))),
  );
  expect(sorted(Object.keys(targets.exponents))).toEqual(
    sorted(all.flatMap(([, { growth }]) => growth.map(({ id }) => id))),
  );
  expect(sorted(Object.keys(targets.bytes))).toEqual(
    sorted(all.flatMap(([, { memory }]) => memory.map(({ id }) => id))),
  );
  for (const { yardstick, ratio, why } of Object.values(targets.ratios)) {
    expect(yardstick).not.toBe("");
    expect(ratio).toBeGreaterThan(0);
    expect(why.length).toBeGreaterThan(10);
  }
  expect(Object.keys(targets.ratios)).toEqual(expect.arrayContaining(Object.keys(targets.seconds)));
  const others = [targets.exponents, targets.bytes, targets.seconds].flatMap(Object.values);
  for (const { why } of others as { why: string }[]) {
    expect(why.length).toBeGreaterThan(10);
  }
});

test("a case is named after its suite", () => {
  for (const [name, { cases, growth, memory }] of all) {
    for (const { id } of [...cases, ...growth, ...memory])
      expect(id).toMatch(new RegExp(`^${name}/`));
  }
});

test("operations of cases without another program run", async () => {
  for (const name of ["core", "exporter-importers", "explorer"]) {
    for (const benchCase of suites[name]?.cases ?? []) {
      const prepared = await benchCase.setup(quick);
      if (!("run" in prepared)) throw new Error(`${benchCase.id} did not make its state`);
      await prepared.run();
      if (typeof prepared.yardstick === "function") await prepared.yardstick();
      await prepared.close?.();
    }
  }
});

test("every growth series has two sizes left in a quick run, ascending, and runs at the smallest", async () => {
  for (const [, { growth }] of all) {
    for (const series of growth) {
      const [first] = series.sizes;
      if (first === undefined) throw new Error(`${series.id} has no sizes`);
      expect(series.sizes.length - quick.sizesLeftOut).toBeGreaterThan(1);
      expect([...series.sizes].sort((a, b) => a - b)).toEqual(series.sizes);
      const sized = await series.setup(first, quick);
      // What other programs measure needs the build.
      if (!("run" in sized)) continue;
      await sized.run();
      await sized.close?.();
    }
  }
});

test("a target is met up to and with its value; a number that is none never", () => {
  expect(verdictOf(8, 8)).toBe("pass");
  expect(verdictOf(8.01, 8)).toBe("falls short");
  expect(verdictOf(Number.NaN, 8)).toBe("falls short");
});

test("a quick run fails only beyond 1.5 times a target, a full one beyond the target", () => {
  const at = (value: number): [{ value: number; target: number }] => [{ value, target: 10 }];
  expect([hasFailed(at(10), false), hasFailed(at(10.1), false)]).toEqual([false, true]);
  expect([hasFailed(at(15), true), hasFailed(at(15.1), true)]).toEqual([false, true]);
  expect(hasFailed([...at(1), { value: Number.NaN, target: 1 }], true)).toBe(true);
  expect(hasFailed([], false)).toBe(false);
});

test("a case that was promised in seconds is held to them beside its ratio", () => {
  const [id, limit] = Object.entries(targets.seconds)[0] ?? ["", { seconds: 0 }];
  const at = (seconds: number) =>
    limitsOf([
      { id, ns: seconds * 1e9 },
      { id: "a/other", ns: 1 },
    ]);
  expect(at(limit.seconds)).toEqual([
    { id, seconds: limit.seconds, target: limit.seconds, verdict: "pass" },
  ]);
  expect(at(2 * limit.seconds)).toMatchObject([{ id, verdict: "falls short" }]);
});

test("what takes minutes is left out of a quick run, with a line that says how to get it", async () => {
  const left: string[] = [];
  for (const [, { cases, memory }] of all) {
    for (const benchCase of cases.filter(({ id }) => /^native\/lab|0000$/.test(id))) {
      if (!/^(native|audit)/.test(benchCase.id)) continue;
      const setup = await benchCase.setup(quick);
      left.push(`${benchCase.id}: ${"skipped" in setup ? setup.skipped : "ran"}`);
    }
    for (const bench of memory.filter(({ id }) => /explored|peak/.test(id))) {
      const taken = await bench.measure(quick);
      left.push(`${bench.id}: ${"skipped" in taken ? taken.skipped : "ran"}`);
    }
  }
  expect(left).toHaveLength(5);
  for (const line of left) expect(line).toMatch(/: [^:]+: pnpm bench (native|audit|memory)/);
});
