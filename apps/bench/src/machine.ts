import { MicrotaskScheduler, type SoftIommu } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { generateServer, P2pdma, type PciFunctionInfo } from "@peerbar/p2pdma";
import { Machine } from "@peerbar/pcie-sim";
import { VfioPci, type VfioPciDevice } from "@peerbar/vfio-pci";
import type { Place } from "./combo/parts.js";

/** A place with vfio-pci on its GPU. */
export interface BenchMachine extends Place {
  readonly device: VfioPciDevice;
}

/**
 * @param iommu - of the machine; a GPU and a NIC that reaches it by bus address are picked.
 * @param gpuBarLength - Bytes of the GPU's large BAR.
 */
export function benchPlace(
  iommu: SoftIommu,
  gpuBarLength?: bigint,
  scheduler = new MicrotaskScheduler(),
): Place {
  const topology = generateServer({
    sockets: 2,
    acs: "off",
    ...(gpuBarLength === undefined ? {} : { gpuBarLength }),
  });
  const p2pdma = new P2pdma(topology);
  const machine = Machine.from(topology, { iommu, scheduler });
  const ofClass = (base: number): readonly PciFunctionInfo[] =>
    topology.endpoints().filter((fn) => (fn.classCode ?? 0) >>> 16 === base);
  const pairs = ofClass(3).flatMap((gpu) => ofClass(2).map((nic) => [gpu, nic] as const));
  const pair = pairs.find(([gpu, nic]) => p2pdma.mapType(gpu, nic) === "bus-addr");
  if (pair === undefined)
    throw new Error("no NIC of the generated server reaches a GPU by bus address");
  const gpu = machine.function(pair[0].address);
  const largest = gpu.bars.reduce((best, bar) =>
    (bar?.length ?? 0n) > (best?.length ?? 0n) ? bar : best,
  );
  const nic = machine.function(pair[1].address);
  return { machine, p2pdma, iommu, gpu, nic, bar: largest?.index ?? 0 };
}

/** The same with the mock IOMMU, and vfio-pci on the GPU. */
export async function benchMachine(gpuBarLength?: bigint): Promise<BenchMachine> {
  const scheduler = new MicrotaskScheduler();
  const place = benchPlace(new MockIommu({ scheduler }), gpuBarLength, scheduler);
  const device = await new VfioPci({ p2pdma: place.p2pdma, scheduler }).open(place.gpu);
  return { ...place, device };
}
