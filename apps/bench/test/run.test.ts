import { expect, test } from "vitest";
import type { Effort } from "../src/case.js";
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

test("it looks once at what falls short within the slack, and a full run at everything", async () => {
  expect((await look(quick, 1.4)).efforts).toHaveLength(1);
  expect((await look(full, 2)).efforts).toHaveLength(1);
});
