import { type Exploration, explore, type Scenario, scenario } from "@peerbar/conformance/explore";
import { Iommufd } from "@peerbar/iommufd";
import { describe, expect, it } from "vitest";
import { shipped } from "../src/explore/scenarios/index.js";
import { buildMachine, memoryOffAndOn, SHARED_BYTES } from "../src/explore/scenarios/machine.js";
import { randomScenario } from "./fixtures/random-machine.js";
import { randomSimScenario } from "./fixtures/random-sim.js";

/** Orders that an unpruned search may run. */
const LIMIT = 800;
const SEEDS = Number(process.env.PEERBAR_EXPLORE_SEEDS ?? 16);

/** Failures count as ends: what is compared is which orders were run. */
async function classes(one: Scenario, reduce: boolean): Promise<Exploration> {
  return explore(one, { reduce, runs: LIMIT, maxFailures: 1000, shrink: false });
}

describe("what the packages tell the explorer of is enough to prune by", () => {
  const machines: readonly (readonly [string, (seed: number) => Scenario])[] = [
    ["drivers, dynamic", (seed) => randomScenario(seed, "dynamic")],
    ["drivers, pinned", (seed) => randomScenario(seed, "pinned-revocable")],
    ["hardware, strict IOMMU", (seed) => randomSimScenario(seed, "dma")],
    ["hardware, lazy IOMMU", (seed) => randomSimScenario(seed, "dma-fq")],
  ];
  for (const [what, make] of machines) {
    it(`random actors on one machine, ${what}, seeds 1 to ${String(SEEDS)}: each class is run once, and none is left out`, async () => {
      let compared = 0;
      for (let seed = 1; seed <= SEEDS; seed++) {
        const made = make(seed);
        const all = await classes(made, false);
        const reduced = await classes(made, true);
        if (all.exhausted) {
          compared += 1;
          expect.soft(reduced.classes, made.name).toBe(all.classes);
        }
        expect
          .soft(reduced.failures.filter(({ kind }) => kind === "undeclared").length, made.name)
          .toBe(0);
      }
      expect(compared).toBeGreaterThan(SEEDS / 3);
    }, 600_000);
  }

  it("remapOnRestore: what it has still to do after a reset and memory off and on, which leave nothing revoked", async () => {
    const restores = scenario("reset and memory off, remapped", async (stage) => {
      const { gpu, buffer, nic, iommu } = await buildMachine(stage);
      const { scheduler, events } = stage;
      const iommufd = new Iommufd(iommu, { scheduler, events, remapOnRestore: true });
      const ioas = iommufd.allocIoas();
      ioas.attach(nic);
      const slice = { offset: 0n, length: SHARED_BYTES };
      const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
      const [isReset, isOn] = [stage.flag("reset"), stage.flag("on")];
      stage.actor("reset", async () => {
        await gpu.reset();
        isReset.set();
      });
      stage.actor("off", async () => {
        await memoryOffAndOn(gpu);
        isOn.set();
      });
      stage.actor("end", async () => {
        await isReset.wait();
        await isOn.wait();
        await iommufd.settled();
        if (mapping.revoked) stage.fail("it stays revoked");
        await iommufd.close();
      });
    });
    const explored = await explore(restores);
    expect(explored.failures).toEqual([]);
    expect(explored.verdict).toBe("exhausted");
  }, 60_000);

  it.each(shipped.map((one) => [one.name, one] as const))(
    "%s: with one preemption, and without a bound where that is small",
    async (_name, one) => {
      for (const bound of [1, undefined]) {
        const all = await explore(one, { bound, reduce: false, runs: LIMIT });
        // Without a bound the large ones are left to the audit that follows every exhausted search.
        if (bound === undefined && !all.exhausted) continue;
        const reduced = await explore(one, { bound });
        expect(all.exhausted || all.bounded, one.name).toBe(true);
        expect(reduced.failures).toEqual([]);
        expect(reduced.classes).toBe(all.classes);
      }
    },
    600_000,
  );
});
