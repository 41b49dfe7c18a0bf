import { describe, expect, it } from "vitest";
import { type Exploration, type ExploreOptions, explore, merge } from "../../src/explore/index.js";
import { randomScenario } from "./random-scenario.js";

const SEEDS = 60;
const LIMIT = 1500;

async function see(
  seed: number,
  options: ExploreOptions,
): Promise<{ result: Exploration; outcomes: string[]; failures: string[] }> {
  const outcomes = new Set<string>();
  const made = randomScenario(seed, (text) => outcomes.add(text));
  const all = { maxFailures: 10_000, shrink: false, runs: LIMIT };
  const result = await explore(made, { ...all, ...options });
  const failures = new Set(result.failures.map(({ kind, message }) => `${kind} ${message}`));
  return { result, outcomes: [...outcomes].sort(), failures: [...failures].sort() };
}

describe("a bound on preemptions", () => {
  it("sees exactly what an unpruned search within the bound sees", async () => {
    let compared = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      for (const bound of [0, 1, 2]) {
        const all = await see(seed, { bound, reduce: false });
        if (!all.result.exhausted) continue;
        compared += 1;
        const pruned = await see(seed, { bound });
        const where = `bound ${bound}, ${all.result.scenario}`;
        expect(pruned.outcomes, where).toEqual(all.outcomes);
        expect(pruned.failures, where).toEqual(all.failures);
        expect(pruned.result.classes, where).toBe(all.result.classes);
        expect(pruned.result.exhausted, where).toBe(true);
        // A state come to with preemptions to spare excludes nothing: pruning may know that all was seen. Then it must be so.
        if (!pruned.result.bounded)
          expect(pruned.outcomes, where).toEqual((await see(seed, {})).outcomes);
        expect(pruned.result.maxPreemptions, where).toBeLessThanOrEqual(bound);
      }
    }
    expect(compared).toBeGreaterThan(SEEDS);
  }, 600_000);

  it("says that everything was seen once the bound keeps nothing out", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const whole = await see(seed, {});
      if (!whole.result.exhausted) continue;
      const bounded = await see(seed, { bound: 50 });
      expect(bounded.outcomes).toEqual(whole.outcomes);
      expect(bounded.result.classes).toBe(whole.result.classes);
      expect(bounded.result.verdict).toBe(whole.result.verdict);
    }
  }, 600_000);
});

describe("shards", () => {
  it("together run each class once, as the whole does", async () => {
    for (let seed = 1; seed <= 25; seed++) {
      const whole = await see(seed, {});
      if (!whole.result.exhausted) continue;
      const parts = await Promise.all(
        [0, 1, 2].map((index) => see(seed, { shard: { index, count: 3 } })),
      );
      const merged = merge(parts.map(({ result }) => result));
      const where = whole.result.scenario;
      expect([...new Set(parts.flatMap(({ outcomes }) => outcomes))].sort(), where).toEqual(
        whole.outcomes,
      );
      expect(merged.interleavings, where).toBe(whole.result.interleavings);
      expect(merged.verdict, where).toBe(whole.result.verdict);
      expect([...new Set(parts.flatMap(({ failures }) => failures))].sort(), where).toEqual(
        whole.failures,
      );
    }
  }, 600_000);

  it("of random orders are those of the whole, run by run", async () => {
    const whole = await see(7, { strategy: "random", runs: 300 });
    const parts = [];
    for (const index of [0, 1, 2]) {
      parts.push(await see(7, { strategy: "random", runs: 300, shard: { index, count: 3 } }));
    }
    const merged = merge(parts.map(({ result }) => result));
    expect(merged.interleavings).toBe(300);
    expect(merged.steps).toBe(whole.result.steps);
    expect([...new Set(parts.flatMap(({ outcomes }) => outcomes))].sort()).toEqual(whole.outcomes);
  });

  it("of a bounded search cover the whole", async () => {
    for (let seed = 1; seed <= 15; seed++) {
      const whole = await see(seed, { bound: 2 });
      if (!whole.result.exhausted) continue;
      const parts = [];
      for (const index of [0, 1])
        parts.push(await see(seed, { bound: 2, shard: { index, count: 2 } }));
      expect([...new Set(parts.flatMap(({ outcomes }) => outcomes))].sort()).toEqual(
        whole.outcomes,
      );
      expect(merge(parts.map(({ result }) => result)).exhausted).toBe(true);
    }
  }, 600_000);
});
