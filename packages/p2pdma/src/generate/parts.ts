import type { AcsInfo, LinkInfo } from "../topology.js";
import type { NodeSpec } from "./layout.js";

// IDs and sizes as on the data sheets of parts that such servers are built from; everything else is invented.
const GIB = 1n << 30n;
const MIB = 1n << 20n;
const KIB = 1n << 10n;

/** SV | RR | CR | UF: what the kernel sets when an IOMMU is in use (p2pdma R33). */
const ACS_KERNEL_DEFAULT = 0x1d;

/** ACS of a port that can redirect. */
export function portAcs(on: boolean): AcsInfo {
  return { state: "present", control: on ? ACS_KERNEL_DEFAULT : 0, capability: 0x5f };
}

function link(speed: number, width: number): LinkInfo {
  return { speed, width, maxSpeed: speed, maxWidth: width };
}

export function gpu(slot: number, barLength: bigint = 128n * GIB): NodeSpec {
  return {
    slot,
    vendorId: 0x10de,
    deviceId: 0x2330,
    classCode: 0x030200,
    name: "NVIDIA Corporation GH100 [H100 SXM5 80GB]",
    portType: "endpoint",
    link: link(32, 16),
    driver: "nvidia",
    bars: [
      { index: 0, length: 16n * MIB, prefetchable: true, is64Bit: true },
      { index: 2, length: barLength, prefetchable: true, is64Bit: true },
      { index: 4, length: 32n * MIB, prefetchable: true, is64Bit: true },
    ],
  };
}

const connectx = "Mellanox Technologies MT2892 Family [ConnectX-6 Dx]";

export function nic(slot: number, vfs: number, name: string): NodeSpec {
  const template: NodeSpec = {
    slot,
    vendorId: 0x15b3,
    deviceId: 0x101e,
    classCode: 0x020000,
    name: "Mellanox Technologies ConnectX Family mlx5Gen Virtual Function",
    portType: "endpoint",
    driver: "mlx5_core",
    bars: [{ index: 0, length: MIB, prefetchable: true, is64Bit: true }],
  };
  return {
    slot,
    vendorId: 0x15b3,
    deviceId: 0x101d,
    classCode: 0x020000,
    name: connectx,
    portType: "endpoint",
    link: link(16, 16),
    driver: "mlx5_core",
    deviceNames: [name],
    bars: [{ index: 0, length: 32n * MIB, prefetchable: true, is64Bit: true }],
    ...(vfs > 0 ? { vfs: { count: vfs, offset: 1, template } } : {}),
  };
}

export function nvme(slot: number, name: string): NodeSpec {
  return {
    slot,
    vendorId: 0x144d,
    deviceId: 0xa824,
    classCode: 0x010802,
    name: "Samsung Electronics Co Ltd NVMe SSD Controller PM173X",
    portType: "endpoint",
    link: link(16, 4),
    driver: "nvme",
    deviceNames: [name],
    bars: [{ index: 0, length: 32n * KIB, prefetchable: false, is64Bit: true }],
  };
}

export function rootPort(slot: number, acs: AcsInfo, children: readonly NodeSpec[]): NodeSpec {
  return {
    slot,
    vendorId: 0x8086,
    deviceId: 0x352a,
    classCode: 0x060400,
    name: "Intel Corporation Device 352a",
    portType: "root-port",
    acs,
    link: link(32, 16),
    driver: "pcieport",
    children,
  };
}

/** A switch: one upstream port and one downstream port for each device below it. */
export function pcieSwitch(acs: AcsInfo, devices: readonly NodeSpec[]): NodeSpec {
  const port = {
    vendorId: 0x1000,
    deviceId: 0xc030,
    classCode: 0x060400,
    name: "Broadcom / LSI PEX890xx PCIe Gen 5 Switch",
    driver: "pcieport",
  };
  return {
    ...port,
    slot: 0,
    portType: "switch-upstream",
    link: link(32, 16),
    children: devices.map((device, slot) => ({
      ...port,
      slot,
      portType: "switch-downstream" as const,
      acs,
      link: link(32, 16),
      children: [{ ...device, slot: 0 }],
    })),
  };
}

/** First device of a root bus: what the kernel's host-bridge list is asked about. */
export function rootDevice(kind: "listed" | "same-only" | "unlisted"): NodeSpec {
  const ids = { listed: 0x09a2, "same-only": 0x2f00, unlisted: 0x6f00 };
  const names = {
    listed: "Intel Corporation Ice Lake Memory Map/VT-d",
    "same-only": "Intel Corporation Xeon E7 v3/Xeon E5 v3/Core i7 DMI2",
    unlisted: "Intel Corporation Xeon E7 v4/Xeon E5 v4/Xeon E3 v4/Xeon D DMI2",
  };
  return {
    slot: 0,
    vendorId: 0x8086,
    deviceId: ids[kind],
    classCode: kind === "listed" ? 0x088000 : 0x060000,
    name: names[kind],
    portType: kind === "listed" ? "rc-integrated-endpoint" : "root-port",
  };
}

/** What sits on bus 00 besides: a VGA controller behind a PCIe-to-PCI bridge, as on many service processors. */
export function serviceProcessor(slot: number, acs: AcsInfo): NodeSpec {
  const vga: NodeSpec = {
    slot: 0,
    vendorId: 0x1a03,
    deviceId: 0x2000,
    classCode: 0x030000,
    name: "ASPEED Technology, Inc. ASPEED Graphics Family",
    portType: "none",
    driver: "ast",
    bars: [
      { index: 0, length: 64n * MIB, prefetchable: false, is64Bit: false },
      { index: 1, length: 256n * KIB, prefetchable: false, is64Bit: false },
    ],
  };
  const bridge: NodeSpec = {
    slot: 0,
    vendorId: 0x1a03,
    deviceId: 0x1150,
    classCode: 0x060400,
    name: "ASPEED Technology, Inc. AST1150 PCI-to-PCI Bridge",
    portType: "pcie-to-pci",
    children: [vga],
  };
  return {
    ...rootPort(slot, acs, [bridge]),
    deviceId: 0x1bbc,
    name: "Intel Corporation Device 1bbc",
  };
}
