import { explore, exporterAndTwoImporters } from "@peerbar/conformance/explore";
import type { BenchCase, GrowthSeries } from "../case.js";
import { AWAITS, awaits } from "../yardstick.js";

const RUNS = 200;

/** So many orders of one exporter, two importers and a reset, each run to its end. */
const random = (runs: number): ReturnType<typeof explore> =>
  explore(exporterAndTwoImporters, { strategy: "random", runs, seed: 1 });

/** One step of one order; building the scene for each run is part of it. */
const step: BenchCase = {
  id: "explorer/step",
  async setup() {
    // The engine takes longer to settle here than anywhere else: no two runs go the same way.
    await random(40 * RUNS);
    const { steps } = await random(RUNS);
    return {
      run: () => random(RUNS),
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
    sizes: [1_000, 3_000, 10_000, 30_000],
    setup: (size) => ({ run: () => random(size) }),
  },
];
