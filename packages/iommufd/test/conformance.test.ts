import { type ImporterCapability, type ImporterSubject, importerCases } from "@peerbar/conformance";
import { MemoryEngine, PhysicalMemory } from "@peerbar/conformance/reference";
import { registerSuite } from "@peerbar/conformance/vitest";
import { asyncDispose, iova } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { describe, it } from "vitest";
import { Iommufd, type IommufdOptions } from "../src/index.js";

const DMA_MASK = (1n << 64n) - 1n;
const NAME = "0000:02:00.0";

function subject(
  name: string,
  options: IommufdOptions,
  special: readonly ImporterCapability[],
): ImporterSubject {
  return {
    role: "importer",
    name,
    capabilities: ["phys", "revocable", "pins", "dma", "cpu-pages", ...special],
    setup: () => {
      const memory = new PhysicalMemory();
      const iommu = new MockIommu();
      const port = iommu.connect({ name: NAME, isPci: true, dmaMask: DMA_MASK, reserved: [] });
      const engine = new MemoryEngine(memory, port);
      const ioas = new Iommufd(iommu, options).allocIoas();
      ioas.attach({ name: NAME, pciAddress: NAME, dmaMask: DMA_MASK, dma: port.dma });
      return {
        memory,
        import: async (buffer, slice) => {
          const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
          return {
            close: () => mapping[asyncDispose](),
            pages: () => {
              using access = ioas.createAccess();
              return access.pinPages(mapping.iova, mapping.length, { write: false });
            },
            write: async (offset, bytes) =>
              (await engine.write(iova(mapping.iova + offset), bytes)).status === "ok",
          };
        },
      };
    },
  };
}

registerSuite({ describe, it }, importerCases, subject("iommufd", {}, ["final"]));
registerSuite(
  { describe, it },
  importerCases,
  subject("iommufd, remapOnRestore", { remapOnRestore: true }, ["dynamic"]),
);
