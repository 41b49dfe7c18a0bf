import { expect, test } from "vitest";
import type { Effort, GrowthSeries } from "../src/case.js";
import { full, quick } from "../src/measure.js";
import { runSuites } from "../src/run.js";
import { ratioTarget } from "../src/targets.js";

const id = "core/share-one-range";
const { ratio: target } = ratioTarget(id);

/** Runs one case that came out at these times its target, one a look. */
async function look(effort: Effort, ...times: number[]) {
  const efforts: Effort[] = [];
  const setup = (asked: Effort) => {
    const at = times[efforts.push(asked) - 1] ?? Number.NaN;
    return { ns: [at * target, at * target], yardstickNs: [1, 1] };
  };
  let told = "";
  const results = await runSuites(
    [{ cases: [{ id, setup }], growth: [], memory: [] }],
    effort,
    (text) => {
      told += text;
    },
  );
  return { ratios: results.rows.map(({ ratio }) => ratio / target), efforts, told };
}

test("a quick run looks again, longer, at a case that would fail it: the second look counts", async () => {
  const calmed = await look(quick, 2, 0.5);
  expect(calmed.ratios).toEqual([0.5]);
  expect(calmed.efforts[1]?.rounds).toBe(full.rounds);
  expect(calmed.efforts[1]?.hurried).toBe(true);
  expect(calmed.told).toContain(`${id}: ${String(2 * target)}.0, measured again, longer`);
  expect((await look(quick, 2, 3)).ratios).toEqual([3]);
});

const series = "audit/captures";

/** Runs one series that is measured elsewhere. */
async function grow(setup: GrowthSeries["setup"], more: Partial<GrowthSeries> = {}) {
  const growth = [{ id: series, unit: "things", sizes: [10, 100, 1000], setup, ...more }];
  return runSuites([{ cases: [], growth, memory: [] }], full, () => undefined);
}

test("a series takes what another program measured, round by round, in its own unit", async () => {
  let taken = 0;
  const { growth } = await grow(
    (size) => ({
      sample: () => {
        taken += 1;
        return size ** 2;
      },
    }),
    { cost: "bytes", rounds: 2 },
  );
  expect(growth).toMatchObject([
    { id: series, cost: "bytes", points: [{ size: 10, value: 100, rounds: [100, 100] }, {}, {}] },
  ]);
  expect(growth[0]?.exponent).toBeCloseTo(2);
  expect(taken).toBe(6);
});

test("a series that cannot run here is skipped with its reason", async () => {
  const { growth, skipped } = await grow(() => ({ skipped: "no such thing here" }));
  expect([growth, skipped]).toEqual([[], [{ id: series, reason: "no such thing here" }]]);
});

test("it looks once at what falls short within the slack, and a full run at everything", async () => {
  expect((await look(quick, 1.4)).efforts).toHaveLength(1);
  expect((await look(full, 2)).efforts).toHaveLength(1);
});
