import type { BackendSubject } from "@peerbar/conformance";
import { PhysicalMemory } from "@peerbar/conformance/reference";
import { MockIommu } from "@peerbar/iommu-mock";
import { LoggingBackend } from "../src/logging-backend.js";

/** The mock IOMMU inside the logging backend, as the conformance suite drives it. */
export const backend: BackendSubject = {
  role: "backend",
  name: "logging mock",
  capabilities: ["phys", "ports", "translating", "faults"],
  setup: () => {
    const mock = new MockIommu();
    const iommu = new LoggingBackend(mock, () => undefined);
    const memory = new PhysicalMemory();
    return {
      iommu,
      connect: (client) => iommu.connect(client),
      memory: (length) => memory.allocate(length),
      faults: () => mock.faults.size,
    };
  },
};
