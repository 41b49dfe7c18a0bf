import { judgeHostBridge, type PciFunctionInfo, type PciTopology } from "@peerbar/p2pdma";
import { acsShort, kindOf, linkShort, nameOf, roleOf } from "@peerbar/words";

/** One box or line of text of the picture. */
export interface TreeNode {
  /** Address; `host 0000:15` for a host bridge, `more 0000:15` for what is not listed below it. */
  readonly key: string;
  readonly kind: "host" | "port" | "end" | "more";
  /** Index of the host bridge. */
  readonly host: number;
  readonly fn: PciFunctionInfo | undefined;
  readonly label: string;
  /** After the label, in the tone of text that matters less. */
  readonly detail: string;
  /** `RR CR`, `?` or empty. */
  readonly acs: string;
  readonly acsState: "redirects" | "unknown" | "off" | "none";
  /** Link to the device above, `16x8/32x16`; empty where there is none or it is not shown. */
  readonly link: string;
  readonly lanes: number;
  readonly slowed: boolean;
  /** Everything in one sentence. */
  readonly title: string;
}

/** Addresses without their domain where the machine has only domain 0. */
export function shortener(topology: PciTopology): (address: string) => string {
  const one = topology.hostBridges.every((host) => host.domain === 0);
  return (address) => (one ? address.replace(/^0000:/, "") : address);
}

type Short = ReturnType<typeof shortener>;

/** A host bridge, and whether the kernel's list has it. */
export function hostNode(topology: PciTopology, host: number): TreeNode {
  const { root, listed, why } = judgeHostBridge(topology, host);
  const words = listed === undefined ? "listed?" : listed ? "listed" : "not listed";
  return {
    key: `host ${root}`,
    kind: "host",
    host,
    fn: undefined,
    label: `host ${shortener(topology)(`${root}:`).slice(0, -1)}`,
    detail: words,
    acs: "",
    acsState: listed === undefined ? "unknown" : listed ? "none" : "redirects",
    link: "",
    lanes: 0,
    slowed: false,
    title: `host bridge ${root}, ${words} for peer traffic: ${why}`,
  };
}

/** What is not drawn below a host bridge. */
export function moreNode(host: TreeNode, count: number): TreeNode {
  const one = count === 1;
  return {
    ...host,
    key: host.key.replace("host", "more"),
    kind: "more",
    label: `${String(count)} more function${one ? "" : "s"} of the root bus`,
    detail: "",
    acsState: "none",
    title: `${String(count)} function${one ? "" : "s"} of this root bus ${one ? "is" : "are"} not drawn`,
  };
}

/** A function, with its link, its ACS and how many virtual functions are folded into it. */
export function functionNode(fn: PciFunctionInfo, short: Short, vfs: number): TreeNode {
  const isPort = fn.busNumbers !== undefined || fn.headerType === 1;
  const acs = acsShort(fn.acs);
  const state = acs.startsWith("!")
    ? "redirects"
    : acs === "?"
      ? "unknown"
      : acs === "-"
        ? "none"
        : "off";
  const { link } = fn;
  const role = fn.physfn >= 0 ? `${kindOf(fn) ?? ""} VF`.trim() : roleOf(fn);
  const names = fn.deviceNames.join(" ");
  const more = vfs === 0 ? "" : ` +${String(vfs)} VF${vfs === 1 ? "" : "s"}`;
  const detail = [names, plainName(nameOf(fn))].filter((part) => part !== "").join(" ");
  const numa =
    fn.numaNode === undefined || fn.numaNode < 0 ? "" : `, NUMA node ${String(fn.numaNode)}`;
  const group = fn.iommuGroup === undefined ? "" : `, IOMMU group ${String(fn.iommuGroup)}`;
  const linkText = linkShort(link);
  return {
    key: fn.address,
    kind: isPort ? "port" : "end",
    host: fn.hostBridge,
    fn,
    label: isPort ? short(fn.address) : `${short(fn.address)} ${role}${more}`.trimEnd(),
    detail: isPort ? "" : cut(detail, 32),
    acs:
      state === "redirects"
        ? (acs.slice(1).split(" ")[0] ?? "").replaceAll(",", " ")
        : state === "unknown" && isPort
          ? "?"
          : "",
    acsState: state,
    link: isInside(fn) ? "" : linkText,
    lanes: link?.width ?? link?.maxWidth ?? 1,
    slowed: linkText.includes("/") && !linkText.startsWith("?"),
    title: `${fn.address} ${role} ${nameOf(fn)}${names === "" ? "" : ` (${names})`}; link ${linkText === "" ? "not shown" : linkText}, ACS ${acs === "-" ? "none" : acs === "?" ? "not shown" : acs}${numa}${group}`,
  };
}

/** Root buses that hold nothing but parts of the CPU, side by side: one line. */
export function bareNode(hosts: readonly TreeNode[]): TreeNode {
  const [first] = hosts;
  if (first === undefined) throw new RangeError("no host bridge to name");
  const names = hosts.map((host) => host.label.replace("host ", ""));
  const one = hosts.length === 1;
  const label = `${String(hosts.length)} more root bus${one ? "" : "es"} with CPU functions only`;
  return {
    ...moreNode(first, 0),
    label,
    detail: cut(names.join(" "), 60),
    title: `${label}: ${names.join(" ")}`,
  };
}

/** Ports of a switch hang on its inner bus, and root ports inside the chip: no link leads up from them. */
function isInside(fn: PciFunctionInfo): boolean {
  return (
    fn.parent < 0 ||
    fn.portType === "switch-downstream" ||
    fn.portType === "root-port" ||
    fn.physfn >= 0
  );
}

/** Vendors' legal forms tell nothing. */
function plainName(name: string): string {
  return name
    .replace(
      /\b(?:Corporation|Technologies|Technology|Inc\.?|Co\.,? Ltd\.?|Limited|Systems?),? ?/g,
      "",
    )
    .replace(/\s+/g, " ")
    .trim();
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1).trimEnd()}…`;
}
