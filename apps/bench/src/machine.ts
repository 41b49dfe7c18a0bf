import { MicrotaskScheduler } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { generateServer, P2pdma, type PciFunctionInfo } from "@peerbar/p2pdma";
import { Machine, type SimFunction } from "@peerbar/pcie-sim";
import { VfioPci, type VfioPciDevice } from "@peerbar/vfio-pci";

/** The generated server with its rooms put together, for suites that need a whole machine. */
export interface BenchMachine {
  readonly scheduler: MicrotaskScheduler;
  readonly machine: Machine;
  readonly gpu: SimFunction;
  /** A NIC that reaches the GPU by bus address. */
  readonly nic: SimFunction;
  readonly bar: number;
  readonly device: VfioPciDevice;
}

export async function benchMachine(): Promise<BenchMachine> {
  const scheduler = new MicrotaskScheduler();
  const topology = generateServer({ sockets: 2, acs: "off" });
  const p2pdma = new P2pdma(topology);
  const machine = Machine.from(topology, { iommu: new MockIommu({ scheduler }), scheduler });
  const ofClass = (base: number): readonly PciFunctionInfo[] =>
    topology.endpoints().filter((fn) => (fn.classCode ?? 0) >>> 16 === base);
  const pairs = ofClass(3).flatMap((gpu) => ofClass(2).map((nic) => [gpu, nic] as const));
  const pair = pairs.find(([gpu, nic]) => p2pdma.mapType(gpu, nic) === "bus-addr");
  if (pair === undefined)
    throw new Error("no NIC of the generated server reaches a GPU by bus address");
  const [gpuInfo, nicInfo] = pair;
  const gpu = machine.function(gpuInfo.address);
  const largest = gpu.bars.reduce((best, bar) =>
    (bar?.length ?? 0n) > (best?.length ?? 0n) ? bar : best,
  );
  const device = await new VfioPci({ p2pdma, scheduler }).open(gpu);
  return {
    scheduler,
    machine,
    gpu,
    nic: machine.function(nicInfo.address),
    bar: largest?.index ?? 0,
    device,
  };
}
