import { assemble, type KnownRoot } from "../assemble.js";
import { computeIommuGroups } from "../iommu-groups.js";
import type { PciTopology } from "../pci-topology.js";
import type { FunctionRecord } from "../record.js";
import type { CpuKind, IommuGroupInfo } from "../topology.js";
import { layOut, type NodeSpec, type RootSpec } from "./layout.js";
import {
  gpu,
  nic,
  nvme,
  pcieSwitch,
  portAcs,
  rootDevice,
  rootPort,
  serviceProcessor,
} from "./parts.js";

/** What kind of GPU server is generated. */
export interface ServerOptions {
  /** Two sockets have two root buses each, one socket has four. Default 2. */
  readonly sockets?: 1 | 2;
  /** ACS redirection at switch and root ports; `mixed`: at every second switch. Default `off`. */
  readonly acs?: "on" | "off" | "mixed";
  /** Default `on`: groups with translating domains. */
  readonly iommu?: "off" | "passthrough" | "on";
  /**
   * First device of the root buses with GPUs, as the kernel's list sees it. `mixed`: listed on the first half of the root buses; the
   * other half begins with a root port that is not listed, as firmware that hides 00.0 leaves it. Default `listed`.
   */
  readonly hostBridges?: "listed" | "same-only" | "unlisted" | "mixed";
  readonly cpu?: CpuKind;
  /** Virtual functions of each NIC, 0 to 200. Default 4. */
  readonly vfs?: number;
  /** Bytes of each GPU's large BAR. Default 128 GiB. */
  readonly gpuBarLength?: bigint;
  /** Added to CPU physical addresses for bus addresses; x86 has 0. Default 0. */
  readonly busOffset?: bigint;
  /** Name of the machine: `source.name`. Default `generated server`. */
  readonly name?: string;
  /** Changes bus numbers and the order of devices below the switches. Default 0. */
  readonly seed?: number;
}

const ROOTS = 4;

/** A small deterministic generator (mulberry32): the same seed gives the same machine everywhere. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/**
 * A GPU server that does not exist: 8 GPUs, 4 NICs with VFs and 4 NVMe drives behind 4 PCIe switches, each below its own root bus, and
 * a service processor on bus 00. Bus numbers, BARs and bridge windows fit together as firmware would lay them out.
 *
 * Deterministic: the same options give the same machine.
 */
export function generateServer(options: ServerOptions = {}): PciTopology {
  const { sockets = 2, seed = 0, busOffset = 0n } = options;
  const next = random(seed);
  const roots: RootSpec[] = [serviceRoot(options, busOffset)];
  for (let index = 0; index < ROOTS; index += 1) {
    const jitter = seed === 0 ? 0 : Math.floor(next() * 8);
    roots.push({
      domain: 0,
      bus: 0x18 + index * 0x38 + jitter,
      numaNode: sockets === 1 ? 0 : index >> 1,
      memoryBase: 0x9000_0000n + BigInt(index) * 0x0800_0000n,
      prefetchableBase: 0x200_0000_0000n * BigInt(index + 1),
      busOffset,
      children: rootChildren(index, options, next),
    });
  }
  return finish(roots, options);
}

function rootChildren(index: number, options: ServerOptions, next: () => number): NodeSpec[] {
  const { acs = "off", hostBridges = "listed", vfs = 4, seed = 0 } = options;
  const on = acs === "on" || (acs === "mixed" && index % 2 === 1);
  const devices = [
    gpu(0, options.gpuBarLength),
    gpu(0, options.gpuBarLength),
    nic(0, vfs, `mlx5_${index.toString()}`),
    nvme(0, `nvme${(index + 1).toString()}`),
  ];
  if (seed !== 0) shuffle(devices, next);
  const port = rootPort(1, portAcs(on), [pcieSwitch(portAcs(on), devices)]);
  if (hostBridges === "mixed") {
    return index < ROOTS / 2 ? [rootDevice("listed"), port] : [port];
  }
  return [rootDevice(hostBridges), port];
}

function serviceRoot(options: ServerOptions, busOffset: bigint): RootSpec {
  const on = options.acs === "on";
  const first =
    options.hostBridges === "same-only"
      ? "same-only"
      : options.hostBridges === "unlisted"
        ? "unlisted"
        : "listed";
  return {
    domain: 0,
    bus: 0,
    numaNode: 0,
    memoryBase: 0x8000_0000n,
    prefetchableBase: 0x100_0000_0000n,
    busOffset,
    children: [
      rootDevice(first),
      serviceProcessor(0x1c, portAcs(on)),
      rootPort(0x1d, portAcs(on), [nvme(0, "nvme0")]),
    ],
  };
}

function shuffle(items: NodeSpec[], next: () => number): void {
  for (let i = items.length - 1; i > 0; i -= 1) {
    const j = Math.floor(next() * (i + 1));
    const a = items[i];
    const b = items[j];
    if (a === undefined || b === undefined) continue;
    items[i] = b;
    items[j] = a;
  }
}

/** Assembles generated roots, with IOMMU groups as the kernel would form them. */
export function finish(roots: readonly RootSpec[], options: ServerOptions): PciTopology {
  const records = roots.flatMap(layOut);
  const known = roots.map(
    (root): KnownRoot => ({ domain: root.domain, bus: root.bus, complete: true }),
  );
  const cpu = options.cpu ?? "intel";
  const parts = {
    source: { format: "generated" as const, name: options.name ?? "generated server", missing: [] },
    machine: { cpu, cpuEvidence: "generated as such", iommu: (options.iommu ?? "on") !== "off" },
    roots: known,
  };
  const topology = assemble(records, parts);
  if ((options.iommu ?? "on") === "off") return topology;
  return assemble(withGroups(records, topology), {
    ...parts,
    iommuGroups: groupInfos(topology, options.iommu === "passthrough" ? "identity" : "DMA-FQ"),
  });
}

function withGroups(records: readonly FunctionRecord[], topology: PciTopology): FunctionRecord[] {
  const groups = computeIommuGroups(topology);
  return records.map((record) => {
    const iommuGroup = groups.groupOf[topology.indexOf(record.address)];
    return {
      ...record,
      iommuGroup: iommuGroup === undefined || iommuGroup < 0 ? undefined : iommuGroup,
    };
  });
}

function groupInfos(topology: PciTopology, type: string): IommuGroupInfo[] {
  return computeIommuGroups(topology).groups.map((_, id) => ({ id, type }));
}
