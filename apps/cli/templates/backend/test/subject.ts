import type { BackendSubject } from "@peerbar/conformance";
import { PhysicalMemory } from "@peerbar/conformance/reference";
import { MyBackend } from "../src/backend.js";

/** The backend as the conformance suite and `peerbar check` drive it. */
export const backend: BackendSubject = {
  role: "backend",
  name: "__NAME__",
  capabilities: ["ports", "translating", "faults"],
  setup: () => {
    const iommu = new MyBackend();
    const memory = new PhysicalMemory();
    return {
      iommu,
      connect: (client) => iommu.connect(client),
      memory: (length) => memory.allocate(length),
      faults: () => iommu.faults,
    };
  },
};
