import { formatId } from "./hex.js";
import type { PciTopology } from "./pci-topology.js";
import type { CpuKind } from "./topology.js";

/**
 * Whether the CPU alone lets a pair pass through its host bridges: x86 and CPU 0 is AMD of family 0x17 or later (p2pdma R17).
 * Undefined for an unknown CPU.
 */
export function cpuSupportsP2pdma(cpu: CpuKind): boolean | undefined {
  return cpu === "unknown" ? undefined : cpu === "amd-zen";
}

/** The CPU as far as the input shows it, and what it was told by. */
export interface InferredCpu {
  readonly cpu: CpuKind;
  /** The function or file that says so, as part of a sentence. Empty for `unknown`. */
  readonly evidence: string;
}

/** Root complexes (first function of bus 00) of AMD family 17h and later. */
const zenRoots = new Set([
  0x1450, 0x15d0, 0x1480, 0x1630, 0x1645, 0x14b5, 0x14d8, 0x14a4, 0x14e8, 0x153a, 0x1507,
]);
/** Root complexes of AMD families 0Fh to 16h. */
const oldAmdRoots = new Set([
  0x1410, 0x1422, 0x1510, 0x1536, 0x1566, 0x1576, 0x1705, 0x9600, 0x9601,
]);
/** Intel root complexes that hypervisors imitate on any CPU, by ID. */
const emulatedIntel = new Set([
  0x1237, // i440FX: QEMU, Xen, VirtualBox, crosvm
  0x29c0, // Q35: QEMU
  0x29a0, // P965: Parallels
  0x29e0, // X38: VirtualBox
  0x7190, // 440BX: VMware
  0x7192, // 440BX without AGP: Hyper-V
  0x0d57, // no chip at all: Cloud Hypervisor, Firecracker
]);
/** Vendors of root complexes that come with one kind of CPU. */
const vendors = new Map<number, CpuKind>([
  [0x1d94, "hygon"],
  [0x13b5, "arm"],
  [0x1def, "arm"],
  [0x19e5, "arm"],
  [0x177d, "arm"],
  [0x1014, "power"],
]);

/**
 * The CPU as far as the input shows it: what a capture or /proc/cpuinfo says, else the IDs of the root complex. Never a guess: an
 * unknown root complex, or one that hypervisors imitate, gives `unknown`.
 */
export function inferCpu(topology: PciTopology): InferredCpu {
  const { machine } = topology;
  if (machine !== undefined && machine.cpu !== "unknown") {
    return { cpu: machine.cpu, evidence: machine.cpuEvidence ?? topology.source.name };
  }
  for (const host of topology.hostBridges) {
    const first = topology.functions[host.first];
    if (first?.vendorId === undefined || !host.complete) continue;
    const { vendorId, deviceId } = first;
    const id = `${formatId(vendorId)}:${formatId(deviceId)}`;
    const cpu = kindOf(vendorId, deviceId, first.classCode);
    if (cpu !== undefined) return { cpu, evidence: `${first.address} is ${id}` };
  }
  return { cpu: "unknown", evidence: "" };
}

function kindOf(
  vendorId: number,
  deviceId: number | undefined,
  classCode: number | undefined,
): CpuKind | undefined {
  // Server root buses begin with 8086:09a2, a system peripheral.
  if (vendorId === 0x8086 && deviceId === 0x09a2) return "intel";
  // Virtual machines have whole devices at the beginning of a root bus: those say nothing of the CPU.
  const kind = classCode === undefined ? undefined : classCode >>> 8;
  const isHostBridge = kind === 0x0600;
  if (!isHostBridge && kind !== 0x0604) return undefined;
  if (vendorId === 0x1022 && deviceId !== undefined) {
    if (zenRoots.has(deviceId)) return "amd-zen";
    return oldAmdRoots.has(deviceId) ? "amd-old" : undefined;
  }
  if (vendorId === 0x8086) {
    const isReal = deviceId === undefined || !emulatedIntel.has(deviceId);
    return isHostBridge && isReal ? "intel" : undefined;
  }
  return vendors.get(vendorId);
}
