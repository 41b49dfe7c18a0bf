import { formatBus, type HostBridgeInfo, type PortType } from "@peerbar/p2pdma";
import type { SimBar } from "./bar.js";
import { Bus, FabricNode } from "./fabric/node.js";
import type { MachineTopology } from "./layout/layout.js";

/** The buses of a machine with the functions on them: nodes in the order of the topology, root buses in that of the host bridges. */
export function buildBuses(
  topology: MachineTopology,
  types: readonly (PortType | "none")[],
  bars: readonly (readonly SimBar[])[],
): { readonly nodes: FabricNode[]; readonly roots: Bus[] } {
  const { functions, hostBridges } = topology;
  const roots = hostBridges.map((info, index) => new Bus(undefined, index, rootName(info)));
  const nodes: (FabricNode | undefined)[] = functions.map(() => undefined);
  const nodeOf = (index: number): FabricNode | undefined => {
    const info = functions[index];
    if (info === undefined) return undefined;
    const known = nodes[index];
    if (known !== undefined) return known;
    const above = nodeOf(info.parent);
    let bus = above?.below ?? roots[info.hostBridge];
    if (above !== undefined && above.below === undefined) {
      bus = new Bus(above, info.hostBridge, above.name);
      above.below = bus;
    }
    bus ??= new Bus(undefined, info.hostBridge, "pci?");
    const node = new FabricNode({
      name: info.address,
      portType: types[index] ?? "none",
      isBridge: info.headerType === 1 || info.busNumbers !== undefined,
      busNumber: info.bus,
      slot: info.slot,
      fn: info.fn,
      bus,
      bars: bars[index] ?? [],
    });
    bus.members.push(node);
    if (info.busNumbers === undefined) node.subordinateBus = 0xff;
    nodes[index] = node;
    return node;
  };
  return { nodes: functions.flatMap((_, index) => nodeOf(index) ?? []), roots };
}

function rootName({ domain, bus }: HostBridgeInfo): string {
  return `pci${formatBus(domain, bus)}`;
}
