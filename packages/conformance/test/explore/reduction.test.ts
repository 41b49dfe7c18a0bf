import { expect, it } from "vitest";
import {
  type Exploration,
  type ExploreOptions,
  explore,
  scenario,
} from "../../src/explore/index.js";
import { randomScenario } from "./random-scenario.js";

/** Scenarios whose whole space is small enough to run without any pruning. */
const SEEDS = Number(process.env.PEERBAR_EXPLORE_SEEDS ?? 60);
const LIMIT = 4000;

interface Seen {
  readonly result: Exploration;
  readonly outcomes: readonly string[];
  readonly failures: readonly string[];
}

async function see(seed: number, options: ExploreOptions): Promise<Seen> {
  const outcomes = new Set<string>();
  const made = randomScenario(seed, (text) => outcomes.add(text));
  const all = { maxFailures: 10_000, shrink: false, runs: LIMIT };
  const result = await explore(made, { ...all, ...options });
  const failures = new Set(result.failures.map(({ kind, message }) => `${kind} ${message}`));
  return { result, outcomes: [...outcomes].sort(), failures: [...failures].sort() };
}

it(`seeds 1 to ${SEEDS}: pruning runs each class once and loses no outcome and no failure`, async () => {
  let small = 0;
  let saved = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const all = await see(seed, { reduce: false });
    if (!all.result.exhausted) continue;
    small += 1;
    const reduced = await see(seed, {});
    const where = all.result.scenario;
    expect(reduced.outcomes, where).toEqual(all.outcomes);
    expect(reduced.failures, where).toEqual(all.failures);
    expect(reduced.result.exhausted, where).toBe(true);
    expect(reduced.result.classes, where).toBe(all.result.classes);
    expect(reduced.result.interleavings, where).toBe(all.result.classes);
    saved += all.result.interleavings - reduced.result.interleavings;
  }
  expect(small).toBeGreaterThan(SEEDS / 2);
  expect(saved).toBeGreaterThan(500);
}, 600_000);

it("a timer fires before the last actor ends, or not at all: both are run, though nothing else is shared", async () => {
  for (const reduce of [false, true]) {
    const ends = new Set<boolean>();
    const made = scenario("a timer nobody waits for", (stage) => {
      let fired = false;
      stage.actor("arms it", () => {
        stage.scheduler.at(5, () => {
          fired = true;
        });
      });
      stage.actor("knows nothing of it", () => stage.pause());
      stage.check(() => ends.add(fired));
    });
    const { verdict } = await explore(made, { reduce });
    expect([verdict, [...ends].sort()]).toEqual(["exhausted", [false, true]]);
  }
});
