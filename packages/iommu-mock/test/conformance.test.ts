import { type BackendCapability, type BackendSubject, backendCases } from "@peerbar/conformance";
import { PhysicalMemory } from "@peerbar/conformance/reference";
import { registerSuite } from "@peerbar/conformance/vitest";
import { MicrotaskScheduler } from "@peerbar/core";
import { describe, it } from "vitest";
import {
  type IommuMode,
  type MockAddressSpace,
  MockIommu,
  type PageTableFormatName,
  PROT_MMIO,
} from "../src/index.js";

function subject(
  mode: IommuMode,
  format: PageTableFormatName,
  special: readonly BackendCapability[],
): BackendSubject {
  return {
    role: "backend",
    name: `iommu-mock, ${mode}, ${format}`,
    capabilities: ["phys", "ports", "faults", "attributes", ...special],
    setup: () => {
      const scheduler = new MicrotaskScheduler();
      const iommu = new MockIommu({ mode, format, scheduler });
      const memory = new PhysicalMemory();
      const spaces: MockAddressSpace[] = [];
      const allocAddressSpace = (): MockAddressSpace => {
        const space = iommu.allocAddressSpace();
        spaces.push(space);
        return space;
      };
      return {
        iommu: { name: iommu.name, accepts: iommu.accepts, allocAddressSpace },
        attributes: (domain, address) => {
          const own = spaces.flatMap((space) => [...space.domains]).find((one) => one === domain);
          const prot = own?.io.inspect(address)?.prot;
          if (prot === undefined) return undefined;
          return (prot & PROT_MMIO) !== 0 ? "mmio" : "cached";
        },
        connect: (client) => iommu.connect(client),
        memory: (length) => memory.allocate(length),
        faults: () => iommu.faults.size,
        // Longer than the flush queue's timeout (dma-iova R13).
        flush: () => {
          scheduler.advance(2_000_000);
        },
      };
    },
  };
}

for (const format of ["x86-64", "x86-64-5level", "amd-v1", "arm-64-4k"] as const) {
  registerSuite({ describe, it }, backendCases, subject("dma", format, ["translating"]));
  registerSuite({ describe, it }, backendCases, subject("dma-fq", format, ["translating"]));
  registerSuite({ describe, it }, backendCases, subject("passthrough", format, ["direct"]));
}
