import type { ExporterSubject } from "@peerbar/conformance";
import { MemoryEngine, PhysicalMemory, SimpleIommu } from "@peerbar/conformance/reference";
import type { DmaDevice } from "@peerbar/core";
import { MemoryExporter } from "../src/exporter.js";

/** This exporter as the conformance suite drives it. */
export const exporter: ExporterSubject = {
  role: "exporter",
  name: "example-memory",
  capabilities: ["sgt", "mapper", "revoke", "revocable-only", "bytes", "live"],
  setup: () => {
    const memory = new PhysicalMemory();
    const shared = new Set<MemoryExporter>();
    let live = 0;
    let away = false;
    return {
      device: deviceAt(memory),
      export: (size = 0x1000n) => {
        const range = memory.allocate(size);
        const onRelease = () => {
          live -= 1;
          shared.delete(one);
        };
        const one: MemoryExporter = new MemoryExporter(
          { range, bytes: new Uint8Array(Number(size)) },
          { revoked: away, onRelease },
        );
        live += 1;
        shared.add(one);
        ranges.set(one.buffer, range.start);
        return one.buffer;
      },
      revoke: async () => {
        away = true;
        for (const one of shared) await one.revoke();
      },
      restore: async () => {
        away = false;
        for (const one of shared) await one.restore();
      },
      live: () => live,
      read: (buffer, offset, into) => {
        memory.read((ranges.get(buffer) ?? 0n) + offset, into);
      },
    };
  },
};

const ranges = new WeakMap<object, bigint>();

/** A device behind an IOMMU whose engine moves real bytes. */
function deviceAt(memory: PhysicalMemory): DmaDevice {
  const name = "0000:01:00.0";
  const dmaMask = 2n ** 64n - 1n;
  const port = new SimpleIommu().connect({ name, isPci: true, dmaMask, reserved: [] });
  return { name, pciAddress: name, dmaMask, dma: port.dma, engine: new MemoryEngine(memory, port) };
}
