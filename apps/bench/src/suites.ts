import type { BenchCase, GrowthSeries, MemoryBench } from "./case.js";
import { memory, memoryGrowth } from "./memory/in-child.js";
import { audit, auditGrowth, auditMemory } from "./suites/audit.js";
import { core, coreGrowth } from "./suites/core.js";
import { explorer, explorerGrowth } from "./suites/explorer.js";
import { exporterImporters, exporterImportersGrowth } from "./suites/exporter-importers.js";
import { iommuMock, iommuMockGrowth } from "./suites/iommu-mock.js";
import { native, nativeGrowth } from "./suites/native.js";
import { pcieSim, pcieSimGrowth } from "./suites/pcie-sim.js";
import { processes, processesGrowth, processesMemory } from "./suites/processes.js";
import { topology, topologyGrowth } from "./suites/topology.js";

/** What one name on the command line runs. */
export interface Suite {
  readonly cases: readonly BenchCase[];
  readonly growth: readonly GrowthSeries[];
  readonly memory: readonly MemoryBench[];
}

function suite(
  cases: readonly BenchCase[],
  growth: readonly GrowthSeries[] = [],
  memory: readonly MemoryBench[] = [],
): Suite {
  return { cases, growth, memory };
}

/** Suites by the name the command line takes, in the order they run. */
export const suites: Readonly<Record<string, Suite>> = {
  topology: suite(topology, topologyGrowth),
  core: suite(core, coreGrowth),
  "iommu-mock": suite(iommuMock, iommuMockGrowth),
  "exporter-importers": suite(exporterImporters, exporterImportersGrowth),
  "pcie-sim": suite(pcieSim, pcieSimGrowth),
  explorer: suite(explorer, explorerGrowth),
  native: suite(native, nativeGrowth),
  processes: suite(processes, processesGrowth, processesMemory),
  audit: suite(audit, auditGrowth, auditMemory),
  memory: suite([], memoryGrowth, memory),
};
