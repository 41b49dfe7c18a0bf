import type { PciTopology } from "../pci-topology.js";
import type { NodeSpec, RootSpec } from "./layout.js";
import { gpu, nic, nvme, pcieSwitch, portAcs, rootDevice, rootPort } from "./parts.js";
import { finish, type ServerOptions } from "./server.js";

/** Size and shape of a generated fleet node. */
export interface FleetOptions {
  /** Root buses; each has 64 endpoints below one switch, its first device included. Default 64: 4,096 endpoints. At most 4096. */
  readonly roots?: number;
  readonly acs?: ServerOptions["acs"];
  readonly iommu?: ServerOptions["iommu"];
  readonly cpu?: ServerOptions["cpu"];
}

/** Endpoints below each root bus of {@link generateFleet}. */
export const ENDPOINTS_PER_ROOT = 64;

const ROOTS_PER_DOMAIN = 20;
const MIB = 1n << 20n;

/**
 * A machine larger than any: many root buses in several domains, each with a switch, two GPUs, two NVMe drives and four NICs with VFs.
 * For measuring what grows with the number of endpoints. Deterministic.
 */
export function generateFleet(options: FleetOptions = {}): PciTopology {
  const { roots = 64, acs = "off" } = options;
  const specs = Array.from({ length: roots }, (_, index): RootSpec => {
    const on = acs === "on" || (acs === "mixed" && index % 2 === 1);
    return {
      domain: Math.floor(index / ROOTS_PER_DOMAIN),
      bus: (index % ROOTS_PER_DOMAIN) * 12,
      numaNode: index % 8,
      memoryBase: 0x8000_0000n + BigInt(index % ROOTS_PER_DOMAIN) * 4n * MIB,
      prefetchableBase: 0x100_0000_0000n + BigInt(index) * 0x10_0000_0000n,
      busOffset: 0n,
      children: [
        rootDevice(index % 4 === 3 ? "unlisted" : "listed"),
        rootPort(1, portAcs(on), [pcieSwitch(portAcs(on), devices(index))]),
      ],
    };
  });
  const { iommu = "off", cpu = "intel" } = options;
  return finish(specs, { iommu, cpu, name: `generated fleet of ${roots.toString()} root buses` });
}

function devices(root: number): NodeSpec[] {
  const name = (kind: string, n: number): string => `${kind}${(root * 4 + n).toString()}`;
  return [
    gpu(0, 256n * MIB),
    gpu(0, 256n * MIB),
    nvme(0, name("nvme", 0)),
    nvme(0, name("nvme", 1)),
    nic(0, 14, name("mlx5_", 0)),
    nic(0, 14, name("mlx5_", 1)),
    nic(0, 14, name("mlx5_", 2)),
    nic(0, 13, name("mlx5_", 3)),
  ];
}
