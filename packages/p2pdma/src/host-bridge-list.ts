import { formatBus } from "./address.js";
import { formatId } from "./hex.js";
import type { PciTopology } from "./pci-topology.js";
import type { HostBridgeInfo, PciFunctionInfo } from "./topology.js";

/**
 * Host bridges that the kernel trusts to pass peer-to-peer traffic, by the ID of the first device on the root bus.
 * `sameOnly`: only between devices below one and the same host bridge.
 *
 * @see Linux 7.2 drivers/pci/p2pdma.c, pci_p2pdma_whitelist
 */
export interface HostBridgeListEntry {
  /** PCI vendor ID, 16 bits. */
  readonly vendorId: number;
  /** Undefined: any device of the vendor. */
  readonly deviceId: number | undefined;
  readonly sameOnly: boolean;
  readonly title: string;
}

const INTEL = 0x8086;

function intel(deviceId: number, title: string, sameOnly = false): HostBridgeListEntry {
  return { vendorId: INTEL, deviceId, sameOnly, title };
}

/** The host bridges that Linux 7.2 trusts to pass peer requests on (p2pdma R16). */
export const hostBridgeList: readonly HostBridgeListEntry[] = [
  intel(0x3c00, "Sandy Bridge-EP", true),
  intel(0x3c01, "Sandy Bridge-EP", true),
  intel(0x2f00, "Haswell-EP", true),
  intel(0x2f01, "Haswell-EP", true),
  intel(0x2030, "Skylake-SP, Cascade Lake"),
  intel(0x2031, "Skylake-SP, Cascade Lake"),
  intel(0x2032, "Skylake-SP, Cascade Lake"),
  intel(0x2033, "Skylake-SP, Cascade Lake"),
  intel(0x2020, "Skylake-SP, Cascade Lake"),
  intel(0x09a2, "Ice Lake-SP, Sapphire Rapids and later"),
  intel(0x0b25, "DSA, Sapphire Rapids"),
  intel(0x0cfe, "IAX, Sapphire Rapids"),
  intel(0x11fb, "DSA, Granite Rapids-D"),
  intel(0x1212, "DSA, Diamond Rapids"),
  intel(0x1216, "IAA, Diamond Rapids"),
  intel(0x4940, "QAT 4xxx"),
  intel(0x4942, "QAT 401xx"),
  intel(0x4944, "QAT 402xx"),
  intel(0x4946, "QAT 420xx"),
  intel(0x4948, "QAT 6xxx"),
  { vendorId: 0x1ae0, deviceId: undefined, sameOnly: false, title: "Google" },
];

/** The first entry that fits decides (p2pdma R16). */
export function findListed(vendorId: number, deviceId: number): HostBridgeListEntry | undefined {
  return hostBridgeList.find(
    (entry) => entry.vendorId === vendorId && (entry.deviceId ?? deviceId) === deviceId,
  );
}

/** What the list says of one host bridge. */
export interface HostBridgeVerdict {
  /** Domain and bus of the root bus: `0000:80`. */
  readonly root: string;
  /** Address of the key device (first on the root bus, and 00.0 or a root port), as far as is known; without one no entry fits. */
  readonly key: string | undefined;
  /** ID of the key device, `8086:09a2`, where known. */
  readonly keyId: string | undefined;
  /** Undefined: the input does not show enough to tell. */
  readonly listed: boolean | undefined;
  /** Listed for devices below this host bridge only. */
  readonly sameOnly: boolean;
  /** Why, as part of a sentence. */
  readonly why: string;
  /** Listed by the caller's override only, against the kernel's list. */
  readonly forced?: true;
}

/**
 * Looks a host bridge up in the kernel's list (p2pdma, host-bridge whitelist; R16).
 *
 * Key device: the first device on the root bus, if it is 00.0 or a PCIe root port; without a key the answer is "not listed".
 * @see Linux 7.2 drivers/pci/p2pdma.c, pci_host_bridge_dev()
 */
export function judgeHostBridge(topology: PciTopology, hostBridge: number): HostBridgeVerdict {
  const host = topology.hostBridges[hostBridge];
  const first = host === undefined ? undefined : topology.functions[host.first];
  const root = host === undefined ? "?" : formatBus(host.domain, host.bus);
  const hasKey = first === undefined ? false : isKey(first);
  const key = hasKey === false ? undefined : first;
  const verdict = (
    listed: boolean | undefined,
    why: string,
    sameOnly = false,
  ): HostBridgeVerdict => ({
    root,
    key: key?.address,
    keyId:
      key?.vendorId === undefined || key.deviceId === undefined
        ? undefined
        : `${formatId(key.vendorId)}:${formatId(key.deviceId)}`,
    listed,
    sameOnly,
    why,
  });
  if (host?.complete !== true) return verdict(undefined, notShown(host, first, root));
  if (first === undefined) return verdict(false, `root bus ${root} has no device`);
  if (key === undefined) {
    return verdict(
      false,
      `root bus ${root} begins with ${first.address}, neither 00.0 nor a root port`,
    );
  }
  const { vendorId, deviceId } = key;
  if (vendorId === undefined || deviceId === undefined) {
    const known = judgeByName(key);
    const named = key.name ?? "no name";
    if (known === undefined || (known && hasKey === undefined))
      return verdict(undefined, `the ID of ${key.address} (${named}) is not shown`);
    const sentence = known ? "is on the list" : "is none of the listed devices";
    return verdict(known, `${key.address} (${named}) ${sentence}`);
  }
  const id = `${formatId(vendorId)}:${formatId(deviceId)}`;
  const entry = findListed(vendorId, deviceId);
  if (entry === undefined) return verdict(false, `${key.address} (${id}) is not on the list`);
  if (hasKey === undefined) {
    return verdict(
      undefined,
      `the input does not show whether ${key.address} (${id}) is a root port`,
    );
  }
  return verdict(true, `${key.address} (${id}, ${entry.title}) is on the list`, entry.sameOnly);
}

/** Whether the first device of a root bus is what the list is asked for; undefined where its port type is not shown. */
function isKey(first: PciFunctionInfo): boolean | undefined {
  if (first.slot === 0 && first.fn === 0) return true;
  return first.portType === undefined ? undefined : first.portType === "root-port";
}

function notShown(
  host: HostBridgeInfo | undefined,
  first: PciFunctionInfo | undefined,
  root: string,
): string {
  if (host?.bus !== 0 || first === undefined || (first.slot === 0 && first.fn === 0)) {
    return `the input does not show root bus ${root}`;
  }
  return `the input shows root bus ${root} from ${first.address} on: a device 00.0 may be missing`;
}

/**
 * Without an ID: names of the list's devices resolve to IDs, so another name is another device. Not so for accelerators, which later
 * editions of pci.ids may name in ways not known here.
 */
function judgeByName(first: PciFunctionInfo): boolean | undefined {
  if (first.name === undefined || first.name === "") return undefined;
  const { vendorId } = first;
  if (vendorId === undefined) return false;
  const entries = hostBridgeList.filter((entry) => entry.vendorId === vendorId);
  if (entries.length === 0) return false;
  if (entries.some((entry) => entry.deviceId === undefined)) return true;
  const kind = first.classCode === undefined ? undefined : first.classCode >>> 8;
  const accelerator = kind === undefined || kind === 0x0880 || kind === 0x0b40 || kind === 0x1200;
  return accelerator && first.slot === 0 && first.fn === 0 ? undefined : false;
}

/**
 * Whether the list lets a pair pass through its host bridges (p2pdma R16). Undefined: the input cannot tell.
 */
export function listAllows(
  a: HostBridgeVerdict,
  b: HostBridgeVerdict,
  same: boolean,
): boolean | undefined {
  if (same) return a.listed;
  const refuses = (v: HostBridgeVerdict): boolean =>
    v.listed === false || (v.listed === true && v.sameOnly);
  if (refuses(a) || refuses(b)) return false;
  return a.listed === true && b.listed === true ? true : undefined;
}
