import { expect, test } from "vitest";
import { suites } from "../src/suites.js";
import targets from "../targets.json" with { type: "json" };

const ids = Object.values(suites).flatMap((cases) => cases.map(({ id }) => id));

test("every case has a target with a yardstick and a reason, and no target is left over", () => {
  expect(Object.keys(targets).sort()).toEqual([...ids].sort());
  for (const { yardstick, ratio, why } of Object.values(targets)) {
    expect(yardstick).not.toBe("");
    expect(ratio).toBeGreaterThan(0);
    expect(why.length).toBeGreaterThan(10);
  }
});

test("a case is named after its suite", () => {
  for (const [suite, cases] of Object.entries(suites)) {
    for (const { id } of cases) expect(id).toMatch(new RegExp(`^${suite}/`));
  }
});

test("operations of cases without a C program run", async () => {
  for (const benchCase of [...(suites.core ?? []), ...(suites["vfio-pci"] ?? [])]) {
    const prepared = await benchCase.setup();
    if ("skipped" in prepared) throw new Error(prepared.skipped);
    await prepared.run();
    if (typeof prepared.yardstick === "function") await prepared.yardstick();
  }
});
