import { formatId, type P2pdmaDecision, type PciFunctionInfo } from "@peerbar/p2pdma";
import { isOfClass } from "./kinds.js";

const kinds = [
  ["gpu", "GPU"],
  ["nic", "NIC"],
  ["nvme", "NVMe"],
  ["storage", "storage"],
] as const;

/** `GPU`, `NIC`, `NVMe`, `storage`; undefined for anything else, and where the class code is not shown. */
export function kindOf(fn: PciFunctionInfo): string | undefined {
  return kinds.find(([name]) => isOfClass(fn, name))?.[1];
}

/** What is printed after the address: the input's name, else the IDs. Empty where neither is shown. */
export function nameOf(fn: PciFunctionInfo): string {
  return (
    fn.name ??
    (fn.vendorId === undefined ? "" : `${formatId(fn.vendorId)}:${formatId(fn.deviceId)}`)
  );
}

/** `0000:1b:00.0 NVIDIA Corporation H800`, with what kind of device it is where that is known. */
export function describeFunction(fn: PciFunctionInfo): string {
  const kind = kindOf(fn);
  const name = nameOf(fn);
  return [fn.address, kind === undefined || name.includes(kind) ? "" : kind, name]
    .filter((part) => part !== "")
    .join(" ");
}

/** Both sides of the way, with redirecting ports marked: `a -> port* -> common <- port <- b`. */
export function pathText(decision: P2pdmaDecision): string {
  const mark = (step: { address: string; redirects: boolean | undefined }): string =>
    `${step.address}${step.redirects === true ? "*" : step.redirects === undefined ? "?" : ""}`;
  const up = decision.upPath.map(mark);
  const down = decision.downPath.map(mark).reverse();
  const bridge = decision.commonAncestor === undefined ? [`[${hostText(decision)}]`] : [];
  return [[...up, ...bridge].join(" -> "), ...down].join(" <- ");
}

/** The host bridge, or both, of a pair that meets below none. */
function hostText(decision: P2pdmaDecision): string {
  const [mine, theirs] = decision.hostBridges;
  return mine.root === theirs.root
    ? `host bridge ${mine.root}`
    : `host bridges ${mine.root} | ${theirs.root}`;
}

const roles: Readonly<Record<string, string>> = {
  "root-port": "root port",
  "switch-upstream": "switch up",
  "switch-downstream": "switch down",
  "pcie-to-pci": "PCIe to PCI",
  "pci-to-pcie": "PCI to PCIe",
};

/** `root port`, `switch down`, `bridge`, else the kind of device; empty where neither is shown. */
export function roleOf(fn: PciFunctionInfo): string {
  const role = fn.portType === undefined ? undefined : roles[fn.portType];
  return role ?? (fn.busNumbers === undefined ? (kindOf(fn) ?? "") : "bridge");
}
