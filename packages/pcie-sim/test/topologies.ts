import {
  type AcsInfo,
  type PciBarInfo,
  type PciFunctionInfo,
  PciTopology,
  type PortType,
} from "@peerbar/p2pdma";

/** What a test says of a function; the rest is unknown or none. */
export interface Spec {
  readonly at: string;
  readonly type?: PortType | "none" | undefined;
  readonly children?: readonly Spec[];
  readonly bars?: readonly (BarSpec | undefined)[];
  /** ACS control; the capability offers everything. */
  readonly acs?: number;
  readonly vfOf?: string;
  readonly windows?: PciFunctionInfo["windows"];
  readonly memoryEnabled?: boolean;
}

export interface BarSpec {
  readonly length?: bigint;
  readonly start?: bigint;
  readonly busStart?: bigint;
  readonly prefetchable?: boolean;
  readonly is64Bit?: boolean;
  readonly kind?: "memory" | "io";
}

export const MIB = 0x10_0000n;
export const GIB = 0x4000_0000n;

/** 64-bit prefetchable, without an address. */
export function bar(length: bigint, start = 0n, busStart = start): BarSpec {
  return { length, start, busStart, prefetchable: true, is64Bit: true };
}

/** A topology from trees of functions: one list for each root bus. */
export function topologyOf(...roots: readonly (readonly Spec[])[]): PciTopology {
  const flat: {
    readonly spec: Spec;
    readonly above: Spec | undefined;
    readonly hostBridge: number;
  }[] = [];
  const add = (spec: Spec, above: Spec | undefined, hostBridge: number): void => {
    flat.push({ spec, above, hostBridge });
    for (const child of spec.children ?? []) add(child, spec, hostBridge);
  };
  for (const [hostBridge, specs] of roots.entries()) {
    for (const spec of specs) add(spec, undefined, hostBridge);
  }
  flat.sort((a, b) => (a.spec.at < b.spec.at ? -1 : 1));
  const index = new Map(flat.map(({ spec }, i) => [spec.at, i]));
  const functions = flat.map(({ spec, above, hostBridge }) =>
    infoOf(spec, index.get(above?.at ?? "") ?? -1, hostBridge, index.get(spec.vfOf ?? "") ?? -1),
  );
  const hostBridges = roots.map((specs) => {
    const first = specs[0]?.at ?? "";
    return { domain: 0, bus: busOf(first), first: index.get(first) ?? -1, complete: true };
  });
  const source = { format: "generated", name: "test", missing: [], warnings: [] } as const;
  return new PciTopology({ functions, hostBridges, source });
}

function busOf(address: string): number {
  return Number.parseInt(address.slice(5, 7), 16);
}

function infoOf(spec: Spec, parent: number, hostBridge: number, physfn: number): PciFunctionInfo {
  const [first] = spec.children ?? [];
  const acs: AcsInfo =
    spec.acs === undefined
      ? { state: "none" }
      : { state: "present", control: spec.acs, capability: 0x7f };
  return {
    address: spec.at,
    domain: 0,
    bus: busOf(spec.at),
    slot: Number.parseInt(spec.at.slice(8, 10), 16),
    fn: Number.parseInt(spec.at.slice(11), 16),
    vendorId: 0x1af4,
    deviceId: 0x1000,
    classCode: first === undefined ? 0x030200 : 0x060400,
    name: undefined,
    headerType: first === undefined ? 0 : 1,
    portType: spec.type ?? (first === undefined ? "endpoint" : undefined),
    acs,
    parent,
    physfn,
    hostBridge,
    busNumbers:
      first === undefined
        ? undefined
        : { primary: busOf(spec.at), secondary: busOf(first.at), subordinate: lastBus(spec) },
    windows: spec.windows ?? [],
    bars: (spec.bars ?? []).map((one, index) => one && barOf(one, index)),
    memoryEnabled: spec.memoryEnabled,
    numaNode: undefined,
    iommuGroup: undefined,
    driver: undefined,
    link: undefined,
    deviceNames: [],
  };
}

function lastBus(spec: Spec): number {
  return Math.max(busOf(spec.at), ...(spec.children ?? []).map(lastBus));
}

function barOf(spec: BarSpec, index: number): PciBarInfo {
  return {
    index,
    kind: spec.kind ?? "memory",
    start: spec.start ?? 0n,
    busStart: spec.busStart ?? spec.start ?? 0n,
    length: spec.length,
    is64Bit: spec.is64Bit ?? false,
    prefetchable: spec.prefetchable ?? false,
  };
}

/** One switch below a root port: a GPU and a NIC behind two downstream ports; another NIC behind a second root port. */
export interface ServerSpec {
  /** ACS control of both downstream ports; absent: no capability. */
  readonly acs?: number;
  readonly rootAcs?: number;
  readonly gpuBar?: bigint;
}

export const GPU = "0000:03:00.0";
export const NIC = "0000:04:00.0";
export const FAR_NIC = "0000:05:00.0";
export const GPU_PORT = "0000:02:00.0";
export const NIC_PORT = "0000:02:01.0";
export const ROOT_PORT = "0000:00:01.0";

export function server({ acs, rootAcs, gpuBar = 16n * MIB }: ServerSpec = {}): PciTopology {
  const port = acs === undefined ? {} : { acs };
  const root = rootAcs === undefined ? {} : { acs: rootAcs };
  return topologyOf([
    {
      at: ROOT_PORT,
      type: "root-port",
      ...root,
      children: [
        {
          at: "0000:01:00.0",
          type: "switch-upstream",
          children: [
            {
              at: GPU_PORT,
              type: "switch-downstream",
              ...port,
              children: [{ at: GPU, bars: [{ length: 0x4000n }, undefined, bar(gpuBar)] }],
            },
            {
              at: NIC_PORT,
              type: "switch-downstream",
              ...port,
              children: [{ at: NIC, bars: [bar(MIB)] }],
            },
          ],
        },
      ],
    },
    {
      at: "0000:00:02.0",
      type: "root-port",
      ...root,
      children: [{ at: FAR_NIC, bars: [bar(MIB)] }],
    },
  ]);
}

/** The same machine, every function shown otherwise. */
export function changed(
  { functions, hostBridges, source }: PciTopology,
  change: (fn: PciFunctionInfo) => PciFunctionInfo,
): PciTopology {
  return new PciTopology({ functions: functions.map(change), hostBridges, source });
}
