/**
 * What one PCI function shows of itself in a capture or in /sys. Plain data: it survives JSON unchanged, apart from the bigints.
 *
 * Three-valued throughout: `undefined` means that the input does not show it, never that it is absent.
 */
export interface PciFunctionInfo {
  /** Full address, lower-case: `0000:3b:00.0` (domains may be longer than four digits). */
  readonly address: string;
  /** PCI domain (segment) of {@link address}. */
  readonly domain: number;
  /** Bus of {@link address}, 0 to 255. */
  readonly bus: number;
  /** Device number on the bus, 0 to 31. */
  readonly slot: number;
  /** Function number, 0 to 7. */
  readonly fn: number;
  /** PCI vendor ID, 16 bits. */
  readonly vendorId: number | undefined;
  /** PCI device ID, 16 bits. */
  readonly deviceId: number | undefined;
  /** 24 bits: base class, subclass, programming interface. Lower parts that the input does not show are 0. */
  readonly classCode: number | undefined;
  /** Human name as the input prints it: `Intel Corporation NVMe Datacenter SSD`. */
  readonly name: string | undefined;
  /** 0 endpoint, 1 bridge, 2 CardBus bridge; undefined where unreadable. */
  readonly headerType: 0 | 1 | 2 | undefined;
  /**
   * Bit 7 of the header type: the device has, or may have, other functions, also where they are not in the input. Left out where the input
   * does not show it.
   */
  readonly multiFunction?: boolean;
  /** Device/port type of the PCI Express capability ({@link PortType}); "none" for conventional PCI, undefined where not shown. */
  readonly portType: PortType | "none" | undefined;
  readonly acs: AcsInfo;
  /** Index of the bridge that owns this function's bus; -1 on a root bus (also where the bridge is not in the input). */
  readonly parent: number;
  /**
   * True where a bridge between this function and `parent` is not in the input: the bus lies in the parent's range, but is not
   * its secondary bus. What that bridge's ACS does is then unknown.
   */
  readonly hiddenUpstream?: true;
  /** Index of the physical function of a virtual function; -1 for all others. */
  readonly physfn: number;
  /** Index into {@link PciTopology.hostBridges}. */
  readonly hostBridge: number;
  /** Bus numbers of a bridge. */
  readonly busNumbers: BridgeBuses | undefined;
  /** Windows that a bridge forwards downstream, as bus addresses. */
  readonly windows: readonly BridgeWindow[];
  /** BARs 0 to 5 by register; the upper half of a 64-bit BAR is undefined. */
  readonly bars: readonly (PciBarInfo | undefined)[];
  /** Only where the input shows all BARs and none is memory with an address: peers can be given nothing (p2pdma R2, R4). */
  readonly noMemoryBars?: true;
  /** Memory decode (command register bit 1; a VF's is its PF's); undefined where not shown. */
  readonly memoryEnabled: boolean | undefined;
  /** NUMA node as the kernel numbers it; -1 where the kernel knows none. */
  readonly numaNode: number | undefined;
  /** Number of its IOMMU group, as in /sys/kernel/iommu_groups. */
  readonly iommuGroup: number | undefined;
  readonly driver: string | undefined;
  readonly link: LinkInfo | undefined;
  /** Kernel names that lead here: `nvme0`, `mlx5_0`, `card0`. */
  readonly deviceNames: readonly string[];
}

/** PCIe capability register bits 7:4 (spec p2pdma, config-space layout). */
export const portTypes = {
  endpoint: 0,
  "legacy-endpoint": 1,
  "root-port": 4,
  "switch-upstream": 5,
  "switch-downstream": 6,
  "pcie-to-pci": 7,
  "pci-to-pcie": 8,
  "rc-integrated-endpoint": 9,
  "rc-event-collector": 10,
} as const;
/** PCI Express device or port type, by name. */
export type PortType = keyof typeof portTypes;

/** Bits of the ACS control and capability registers. */
export const acsBits = {
  SV: 0x01,
  TB: 0x02,
  RR: 0x04,
  CR: 0x08,
  UF: 0x10,
  EC: 0x20,
  DT: 0x40,
} as const;
/** RR | CR | EC: any one of them redirects (p2pdma R7). */
export const ACS_REDIRECT = 0x2c;

/** ACS of one function. `unknown`: the input cannot show whether, or how, it is set (p2pdma R29). */
export type AcsInfo =
  | { readonly state: "none" }
  | { readonly state: "unknown"; readonly why: string }
  | {
      readonly state: "present";
      readonly control: number;
      readonly capability: number | undefined;
    };

/** Bus numbers of a bridge. */
export interface BridgeBuses {
  /** Bus that the bridge is on. */
  readonly primary: number;
  /** Bus right below it. */
  readonly secondary: number;
  /** Highest bus below it. */
  readonly subordinate: number;
}

/** A range of bus addresses that a bridge passes down. */
export interface BridgeWindow {
  readonly kind: "io" | "memory" | "prefetchable";
  /** First bus address, in bytes. */
  readonly first: bigint;
  /** Last bus address, included, in bytes. */
  readonly last: bigint;
}

/** A BAR as the input shows it. Addresses and lengths are bytes. */
export interface PciBarInfo {
  /** Number of the BAR, by its register, 0 to 5. */
  readonly index: number;
  readonly kind: "memory" | "io";
  /** CPU physical address, in bytes; 0 where the BAR is unassigned. */
  readonly start: bigint;
  /** Address on the bus (p2pdma R3, R32): differs from `start` where the host bridge translates. */
  readonly busStart: bigint;
  /** Bytes; undefined where the input does not show it (hex dumps). */
  readonly length: bigint | undefined;
  readonly is64Bit: boolean;
  readonly prefetchable: boolean;
  /** The input lists regions without numbers (`lspci -v`): `index` is counted, and wrong where a register is empty. */
  readonly indexInferred?: true;
}

/** Speed and width of a link, now and at best. */
export interface LinkInfo {
  /** GT/s, and lanes; undefined where not shown. */
  readonly speed: number | undefined;
  /** Lanes in use. */
  readonly width: number | undefined;
  /** GT/s at best, by the device's own capability; the other end may be slower. */
  readonly maxSpeed: number | undefined;
  /** Lanes at best, by the device's own capability. */
  readonly maxWidth: number | undefined;
}

/** A PCI host bridge: one root bus. */
export interface HostBridgeInfo {
  /** PCI domain (segment) of the root bus. */
  readonly domain: number;
  /** Number of the root bus. */
  readonly bus: number;
  /** Index of the first function on the root bus; -1 where the input shows none. */
  readonly first: number;
  /** False where the root bus is not in the input: its real host bridge is then unknown. */
  readonly complete: boolean;
}

/** What the kernel's IOMMU groups look like, where the input shows /sys/kernel/iommu_groups. */
export interface IommuGroupInfo {
  /** Number of the group, as in /sys/kernel/iommu_groups. */
  readonly id: number;
  /** /sys/kernel/iommu_groups/N/type: `DMA`, `DMA-FQ`, `identity`, `blocked`, `unmanaged`, `auto`. */
  readonly type: string | undefined;
}

/** CPU families that p2pdma R17 tells apart. All but `amd-zen` follow the host-bridge list; `unknown` may be either. */
export type CpuKind =
  | "amd-zen"
  | "amd-old"
  | "intel"
  | "hygon"
  | "arm"
  | "power"
  | "other"
  | "unknown";

/** What is known of the machine besides its PCI functions. */
export interface MachineInfo {
  readonly cpu: CpuKind;
  /** What says so: `/proc/cpuinfo: AuthenticAMD, family 25`. */
  readonly cpuEvidence: string | undefined;
  /** False: the kernel runs without an IOMMU; undefined where the input does not show it. */
  readonly iommu?: boolean;
}

/** What kind of input a topology was read from. */
export type TopologyFormat =
  | "lspci-text"
  | "lspci-hex"
  | "lspci-text+hex"
  | "sysfs"
  | "capture"
  | "generated";

/** Where a topology comes from, and what that source could not show. */
export interface TopologySource {
  readonly format: TopologyFormat;
  /** File name, `/sys`, or another name that the caller gave. */
  readonly name: string;
  /** Sentences: what seems missing, and which privilege or option shows it. */
  readonly missing: readonly string[];
  /** Sentences: what was broken in the input and how it was read. */
  readonly warnings: readonly string[];
}
