import { generateServer, type MapType, P2pdma } from "@peerbar/p2pdma";
import { Machine, type SimBar, type SimFunction } from "@peerbar/pcie-sim";
import { type Backend, type BackendName, makeBackend } from "./backends.js";

/** How p2pdma answers for the pair that is used. */
export const routes = [
  "bus-addr",
  "thru-host-bridge",
  "not-supported",
] as const satisfies MapType[];

export type Route = (typeof routes)[number];

/** Command register: memory decode and bus mastering. */
export const COMMAND = 4;
export const MEMORY_AND_MASTER = 0x6;

/** A generated server with a GPU, and a NIC that p2pdma answers `route` for. */
export interface Server {
  readonly backend: Backend;
  readonly machine: Machine;
  readonly p2pdma: P2pdma;
  readonly gpu: SimFunction;
  readonly bar: SimBar;
  readonly nic: SimFunction;
}

export interface ServerSetup {
  readonly backend: BackendName;
  readonly route: Route;
  /** Bytes of the GPU's large BAR. */
  readonly barLength?: bigint;
}

const LARGE_BAR = 2;

/** @throws Error where the generated server has no such pair. */
export function makeServer({ backend: name, route, barLength = 0x20_0000n }: ServerSetup): Server {
  const topology = generateServer({
    vfs: 0,
    gpuBarLength: barLength,
    acs: route === "bus-addr" ? "off" : "on",
    // Redirected to a root complex that is not known to forward (p2pdma R13).
    hostBridges: route === "not-supported" ? "unlisted" : "listed",
  });
  const backend = makeBackend(name);
  const machine = Machine.from(topology, { iommu: backend.iommu, dmaChunkBytes: 0x1_0000 });
  const p2pdma = new P2pdma(topology);
  const ofClass = (base: number): SimFunction[] =>
    topology
      .endpoints()
      .filter(({ classCode = 0 }) => classCode >>> 16 === base)
      .map(({ address }) => machine.function(address));
  for (const gpu of ofClass(3)) {
    const bar = gpu.memoryBars.find(({ index }) => index === LARGE_BAR);
    const nic = ofClass(2).find((fn) => p2pdma.mapType(gpu.name, fn.name) === route);
    if (bar === undefined || nic === undefined) continue;
    nic.writeConfig(COMMAND, 2, MEMORY_AND_MASTER);
    return { backend, machine, p2pdma, gpu, bar, nic };
  }
  throw new Error(`the generated server has no GPU and NIC with the route ${route}`);
}
