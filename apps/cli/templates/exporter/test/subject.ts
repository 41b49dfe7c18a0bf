import type { ExporterSubject } from "@peerbar/conformance";
import { MemoryEngine, PhysicalMemory, SimpleIommu } from "@peerbar/conformance/reference";
import type { DmaDevice } from "@peerbar/core";
import { MyBuffer } from "../src/exporter.js";

/** The exporter as the conformance suite and `peerbar check` drive it. */
export const exporter: ExporterSubject = {
  role: "exporter",
  name: "__NAME__",
  capabilities: ["sgt", "mapper", "multi-range", "revoke", "revocable-only"],
  setup: () => {
    const memory = new PhysicalMemory();
    const shared: MyBuffer[] = [];
    let away = false;
    return {
      device: deviceAt(memory),
      export: async (...sizes) => {
        const ops = new MyBuffer(sizes.map((size) => memory.allocate(size)));
        shared.push(ops);
        if (away) await ops.revoke();
        return ops.buffer;
      },
      revoke: async () => {
        away = true;
        for (const ops of shared) if (!ops.buffer.released) await ops.revoke();
      },
      restore: async () => {
        away = false;
        for (const ops of shared) if (!ops.buffer.released) await ops.restore();
      },
    };
  },
};

/** A device behind an IOMMU, which imports what is shared. */
export function deviceAt(memory: PhysicalMemory): DmaDevice {
  const name = "0000:01:00.0";
  const dmaMask = 2n ** 64n - 1n;
  const port = new SimpleIommu().connect({ name, isPci: true, dmaMask, reserved: [] });
  return { name, pciAddress: name, dmaMask, dma: port.dma, engine: new MemoryEngine(memory, port) };
}
