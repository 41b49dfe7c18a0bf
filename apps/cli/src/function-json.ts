import { hex } from "@peerbar/core";
import type { HostBridgeVerdict, PciFunctionInfo, PciTopology } from "@peerbar/p2pdma";
import { formatBus, hexNumber, judgeHostBridge } from "@peerbar/p2pdma";
import { acsJson } from "@peerbar/words";

/** One function in JSON; what the input does not show is left out. */
export function functionJson(topology: PciTopology, fn: PciFunctionInfo): Record<string, unknown> {
  const host = topology.hostBridges[fn.hostBridge];
  const group = topology.iommuGroups.find((info) => info.id === fn.iommuGroup);
  return {
    address: fn.address,
    parent: topology.functions[fn.parent]?.address,
    physfn: topology.functions[fn.physfn]?.address,
    rootBus: host === undefined ? undefined : formatBus(host.domain, host.bus),
    vendorId: hexNumber(fn.vendorId, 4),
    deviceId: hexNumber(fn.deviceId, 4),
    classCode: hexNumber(fn.classCode, 6),
    name: fn.name,
    deviceNames: fn.deviceNames,
    headerType: fn.headerType,
    portType: fn.portType,
    busNumbers: fn.busNumbers,
    acs: acsJson(fn.acs),
    link: fn.link,
    numaNode: fn.numaNode,
    iommuGroup: fn.iommuGroup,
    iommuGroupType: group?.type,
    driver: fn.driver,
    bars: fn.bars.flatMap((bar) =>
      bar === undefined
        ? []
        : [
            {
              index: bar.index,
              kind: bar.kind,
              start: hex(bar.start),
              busStart: hex(bar.busStart),
              length: bar.length === undefined ? undefined : hex(bar.length),
              prefetchable: bar.prefetchable,
            },
          ],
    ),
  };
}

/** One host bridge in JSON, with what the kernel's list says of it (p2pdma R16). */
export function hostBridgeJson(verdict: HostBridgeVerdict): Record<string, unknown> {
  const { root, key, keyId, listed, sameOnly, why } = verdict;
  return { rootBus: root, key, keyId, listed: listed ?? null, sameOnly, why };
}

/** All host bridges of a machine. */
export function hostBridgesJson(topology: PciTopology): Record<string, unknown>[] {
  return topology.hostBridges.map((_, host) => hostBridgeJson(judgeHostBridge(topology, host)));
}
