import { explore, type Scenario, scenario } from "@peerbar/conformance/explore";
import { MemoryExporter, PhysicalMemory, SimpleImporter } from "@peerbar/conformance/reference";
import { DmaBufError } from "@peerbar/core";
import type { BenchCase, GrowthSeries } from "../case.js";
import { AWAITS, awaits } from "../yardstick.js";

/** One exporter, two importers and a reset. */
const twoImporters: Scenario = scenario("a reset against two importers", (t) => {
  const exporter = new MemoryExporter({ memory: new PhysicalMemory(), scheduler: t.scheduler });
  const buffer = t.sanitizer.buffer(exporter.export(0x1000n));
  for (const name of ["first", "second"]) {
    t.actor(name, async () => {
      const device = { name, pciAddress: "0000:01:00.0", dmaMask: 2n ** 64n - 1n };
      try {
        const slice = { offset: 0n, length: 0x1000n };
        const imported = await new SimpleImporter(device).import(buffer, slice);
        await imported.close();
      } catch (error) {
        if (!(error instanceof DmaBufError) || error.code !== "ENODEV") throw error;
      }
    });
  }
  t.actor("reset", async () => {
    await exporter.revoke();
    await exporter.restore();
  });
});

const random = (runs: number): ReturnType<typeof explore> =>
  explore(twoImporters, { strategy: "random", runs, seed: 1 });

/** One step of one order, building the scene for each run included. */
const step: BenchCase = {
  id: "explorer/step",
  async setup() {
    const { steps } = await random(200);
    return {
      run: () => random(200),
      yardstick: awaits,
      batch: 1,
      perRun: steps,
      perYardstick: AWAITS,
    };
  },
};

export const explorer: readonly BenchCase[] = [step];

export const explorerGrowth: readonly GrowthSeries[] = [
  {
    id: "explorer/runs",
    unit: "orders run",
    sizes: [100, 1_000, 10_000],
    setup: (size) => ({ run: () => random(size) }),
  },
];
