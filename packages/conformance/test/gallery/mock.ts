import type { BackendSubject } from "@peerbar/conformance";
import { PhysicalMemory } from "@peerbar/conformance/reference";
import type { IommuBackend } from "@peerbar/core";
import { type MockAddressSpace, MockIommu, PROT_MMIO } from "@peerbar/iommu-mock";

/** iommu-mock with what its page tables say of the memory; with the kernel's defects where asked for. */
export function mockSubject(quirks: "linux-7.2" | undefined): BackendSubject {
  return {
    role: "backend",
    name: quirks === undefined ? "iommu-mock" : `iommu-mock, quirks ${quirks}`,
    capabilities: ["phys", "ports", "translating", "faults", "attributes"],
    setup: () => {
      const iommu = new MockIommu(quirks === undefined ? {} : { quirks });
      const memory = new PhysicalMemory();
      const spaces: MockAddressSpace[] = [];
      const backend: IommuBackend = {
        name: iommu.name,
        accepts: iommu.accepts,
        allocAddressSpace: () => {
          const space = iommu.allocAddressSpace();
          spaces.push(space);
          return space;
        },
      };
      return {
        iommu: backend,
        connect: (client) => iommu.connect(client),
        memory: (length) => memory.allocate(length),
        faults: () => iommu.faults.size,
        attributes: (domain, address) => {
          const own = spaces.flatMap((space) => [...space.domains]).find((one) => one === domain);
          const prot = own?.io.inspect(address)?.prot;
          if (prot === undefined) return undefined;
          return (prot & PROT_MMIO) !== 0 ? "mmio" : "cached";
        },
      };
    },
  };
}
