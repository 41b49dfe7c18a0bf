import { MicrotaskScheduler } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { P2pdma } from "@peerbar/p2pdma";
import { Machine } from "@peerbar/pcie-sim";
import { VfioPci, type VfioPciDevice } from "@peerbar/vfio-pci";
import { readSubject } from "../source.js";
import type { ShareWorld } from "./world.js";

/** The machine of `-F FILE`, or a simulation of this one. */
export async function mockWorld(options: {
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
}): Promise<ShareWorld> {
  const subject = await readSubject(options);
  const scheduler = new MicrotaskScheduler();
  const iommu = new MockIommu({ mode: "dma", scheduler });
  const machine = Machine.from(subject.topology, { iommu, scheduler });
  const p2pdma = new P2pdma(subject.topology, { cpu: subject.cpu });
  const vfio = new VfioPci({ p2pdma, scheduler });
  const opened = new Map<string, VfioPciDevice>();
  return {
    backend: "mock",
    subject,
    iommu,
    recovered: [],
    function: (address) => machine.function(address),
    open: async (address) => {
      const device = opened.get(address) ?? (await vfio.open(machine.function(address)));
      opened.set(address, device);
      return device;
    },
    driverOf: () => undefined,
    close: async () => {
      for (const device of opened.values()) await device.close();
      opened.clear();
    },
    leftovers: () => [],
  };
}
