import type { PciTopology } from "@peerbar/p2pdma";
import type { Subjects } from "./generate.js";

const IVSHMEM = 0x1110;
const EDU = 0x11e8;

/** What the lab's cases use: the functions with RAM behind a BAR share it, these and the DMA engines import. */
export function subjectsOf(topology: PciTopology): Subjects {
  const providers = topology.functions.flatMap((info) => {
    const bar = info.deviceId === IVSHMEM ? info.bars[2] : undefined;
    return bar === undefined ? [] : [{ address: info.address, bar: 2, length: Number(bar.length) }];
  });
  const clients = topology.functions
    .filter((info) => info.deviceId === EDU)
    .map((info) => info.address);
  if (providers.length === 0 || clients.length === 0)
    throw new Error(`${topology.source.name}: no providers or no clients here`);
  return { providers, clients };
}
