import { MicrotaskScheduler } from "@peerbar/core";
import { type IommuMode, MockIommu } from "@peerbar/iommu-mock";
import { P2pdma, type PciTopology, parseTopology } from "@peerbar/p2pdma";
import { Machine } from "@peerbar/pcie-sim";
import { VfioPci } from "@peerbar/vfio-pci";
import type { Answers } from "./case.js";
import { ModelWorld } from "./model-world.js";

/** The kernel's names of domain types to the mode of the model's IOMMU. */
const modes: Readonly<Record<string, IommuMode>> = {
  none: "off",
  identity: "passthrough",
  dma: "dma",
  "dma-fq": "dma-fq",
};

/**
 * The model of the machine that gave these answers.
 *
 * @param quirks "linux-7.2" reproduces the kernel's live defects; without it the model does right, and differs where the kernel is wrong.
 */
export function buildModel(
  answers: Answers,
  quirks?: "linux-7.2",
): { world: ModelWorld; topology: PciTopology } {
  const topology = parseTopology(answers.capture, { name: answers.machine });
  const scheduler = new MicrotaskScheduler();
  const kinds = new Set(Object.values(answers.domains));
  const [kind = "none"] = kinds;
  const mode = modes[kind];
  if (kinds.size > 1 || mode === undefined) {
    throw new Error(
      `${answers.machine}: clients are in different domains: ${[...kinds].join(", ")}`,
    );
  }
  const quirk = quirks === undefined ? {} : { quirks };
  const unreportedRefusals = topology.functions.some(isVirtioIommu);
  const iommu = new MockIommu({ mode, scheduler, unreportedRefusals, ...quirk });
  const machine = Machine.from(topology, {
    iommu,
    scheduler,
    dmaMask: ({ address }) => BigInt(`0x${answers.masks[address] ?? "ffffffff"}`),
  });
  const p2pdma = new P2pdma(topology, { mode: "linux" });
  const vfio = new VfioPci({ p2pdma, scheduler, ...quirk });
  return { world: new ModelWorld(machine, vfio, p2pdma, answers.unresettable), topology };
}

/** virtio-iommu-pci: virtio's vendor, and 0x1040 plus the kind of device (virtio 1.2, 5.13). */
function isVirtioIommu({ vendorId, deviceId }: PciTopology["functions"][number]): boolean {
  return vendorId === 0x1af4 && deviceId === 0x1057;
}
