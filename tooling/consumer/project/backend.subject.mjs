// A conformance subject, as `peerbar check` takes it: the mock IOMMU as if it were the user's own backend.
import { PhysicalMemory } from "@peerbar/conformance/reference";
import { MockIommu } from "@peerbar/iommu-mock";

export const mine = {
  role: "backend",
  name: "mine",
  capabilities: ["phys", "ports", "translating", "faults"],
  setup() {
    const iommu = new MockIommu();
    const memory = new PhysicalMemory();
    return {
      iommu,
      connect: (client) => iommu.connect(client),
      memory: (length) => memory.allocate(length),
      faults: () => iommu.faults.size,
    };
  },
};
