import type { ImporterSubject } from "@peerbar/conformance";
import { MemoryEngine, PhysicalMemory, SimpleIommu } from "@peerbar/conformance/reference";
import type { DmaDevice } from "@peerbar/core";
import { MyImport } from "../src/importer.js";

/** The importer as the conformance suite and `peerbar check` drive it. */
export const importer: ImporterSubject = {
  role: "importer",
  name: "__NAME__",
  capabilities: ["sgt", "revocable", "dynamic", "dma", "multi-range", "kernel-fences"],
  setup: () => {
    const memory = new PhysicalMemory();
    const device = deviceAt(memory);
    return { memory, import: (buffer, slice) => MyImport.open(device, buffer, slice) };
  },
};

/** A device behind an IOMMU whose engine moves real bytes. Put yours here. */
export function deviceAt(memory: PhysicalMemory): DmaDevice {
  const name = "0000:02:00.0";
  const dmaMask = 2n ** 64n - 1n;
  const port = new SimpleIommu().connect({ name, isPci: true, dmaMask, reserved: [] });
  return { name, pciAddress: name, dmaMask, dma: port.dma, engine: new MemoryEngine(memory, port) };
}
