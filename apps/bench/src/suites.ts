import type { BenchCase } from "./case.js";
import { core } from "./suites/core.js";
import { iommuMock } from "./suites/iommu-mock.js";
import { pcieSim } from "./suites/pcie-sim.js";
import { topology } from "./suites/topology.js";
import { vfioPci } from "./suites/vfio-pci.js";

/** Suites by the name the command line takes, in the order they run. */
export const suites: Readonly<Record<string, readonly BenchCase[]>> = {
  topology,
  core,
  "iommu-mock": iommuMock,
  "vfio-pci": vfioPci,
  "pcie-sim": pcieSim,
};
