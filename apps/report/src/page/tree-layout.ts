import { judgeHostBridge, type PciFunctionInfo, type PciTopology } from "@peerbar/p2pdma";
import { acsShort, kindOf, linkShort, nameOf, roleOf } from "@peerbar/words";
import { cluster, type HierarchyNode, hierarchy } from "d3-hierarchy";

/** Sizes of the picture, in CSS pixels. */
export const size = {
  row: 26,
  box: 20,
  char: 6.7,
  small: 6,
  top: 14,
  left: 34,
  hostGap: 10,
} as const;

/** One box or line of text of the picture. */
interface TreeNode {
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

export interface PlacedNode extends TreeNode {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly level: number;
  readonly parent: string | undefined;
}

/** A line between two boxes. */
export interface PlacedEdge {
  readonly from: PlacedNode;
  readonly to: PlacedNode;
}

/** A frame around the ports of one switch, or a bar along the hosts of one NUMA node. */
export interface Frame {
  readonly key: string;
  readonly label: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface TreePicture {
  /** In the order in which keys walk them: top to bottom, parents first. */
  readonly nodes: readonly PlacedNode[];
  readonly edges: readonly PlacedEdge[];
  readonly switches: readonly Frame[];
  readonly numa: readonly Frame[];
  readonly width: number;
  readonly height: number;
}

export interface TreeOptions {
  /** Functions to draw, with all above them; undefined: the whole machine. */
  readonly only?: readonly string[];
  readonly vfs: boolean;
  /** Also the functions of root buses that are part of the CPU. */
  readonly crowd: boolean;
  /** Drawn whatever the other options say. */
  readonly always: readonly string[];
}

interface Branch {
  readonly node: TreeNode;
  readonly children: Branch[];
}

/** Lays the machine out: one row a leaf, parents amid their children, one column a level. */
export function layOut(topology: PciTopology, options: TreeOptions): TreePicture {
  const branches = branchesOf(topology, options);
  const short = shortener(topology);
  const root = hierarchy<Branch | undefined>(undefined, (branch) =>
    branch === undefined ? branches(short) : branch.children,
  );
  cluster<Branch | undefined>()
    .nodeSize([1, 1])
    .separation(() => 1)(root);
  return place(root);
}

/** Addresses without their domain where the machine has only domain 0. */
export function shortener(topology: PciTopology): (address: string) => string {
  const one = topology.hostBridges.every((host) => host.domain === 0);
  return (address) => (one ? address.replace(/^0000:/, "") : address);
}

type Short = (address: string) => string;

function branchesOf(topology: PciTopology, options: TreeOptions): (short: Short) => Branch[] {
  const kept = keep(topology, options);
  const children = new Map<number, number[]>();
  const vfs = new Map<number, number>();
  const hidden = new Map<number, number>();
  const hasChildren = new Set(topology.functions.map((fn) => fn.parent));
  for (const [index, fn] of topology.functions.entries()) {
    if (!kept.has(index)) {
      if (options.only !== undefined) continue;
      if (fn.physfn >= 0) vfs.set(fn.physfn, (vfs.get(fn.physfn) ?? 0) + 1);
      continue;
    }
    const above = fn.parent >= 0 ? fn.parent : -1 - fn.hostBridge;
    const plain = fn.parent < 0 && fn.busNumbers === undefined && !hasChildren.has(index);
    const dull = plain && kindOf(fn) === undefined && !options.always.includes(fn.address);
    if (dull && !options.crowd) hidden.set(above, (hidden.get(above) ?? 0) + 1);
    else children.set(above, [...(children.get(above) ?? []), index]);
  }
  return (short) => {
    const branch = (index: number): Branch[] => {
      const fn = topology.functions[index];
      if (fn === undefined) return [];
      const below = (children.get(index) ?? []).flatMap(branch);
      return [{ node: functionNode(fn, short, vfs.get(index) ?? 0), children: below }];
    };
    const hosts: Branch[] = [];
    let bare: TreeNode[] = [];
    const flush = (): void => {
      if (bare.length > 0) hosts.push({ node: bareNode(bare), children: [] });
      bare = [];
    };
    for (const host of topology.hostBridges.keys()) {
      const below = (children.get(-1 - host) ?? []).flatMap(branch);
      const more = hidden.get(-1 - host) ?? 0;
      if (below.length === 0 && more === 0) continue;
      const node = hostNode(topology, host);
      if (below.length === 0) {
        bare.push(node);
        continue;
      }
      flush();
      if (more > 0) below.push({ node: moreNode(node, more), children: [] });
      hosts.push({ node, children: below });
    }
    flush();
    return hosts;
  };
}

/** Root buses that hold nothing but parts of the CPU, side by side: one line. */
function bareNode(hosts: readonly TreeNode[]): TreeNode {
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

function keep(topology: PciTopology, options: TreeOptions): ReadonlySet<number> {
  const kept = new Set<number>();
  const up = (start: number): void => {
    for (let at = start; at >= 0 && !kept.has(at); at = topology.functions[at]?.parent ?? -1) {
      kept.add(at);
    }
  };
  for (const address of [...(options.only ?? []), ...options.always]) up(topology.indexOf(address));
  if (options.only !== undefined) return kept;
  for (const [index, fn] of topology.functions.entries()) {
    if (options.vfs || fn.physfn < 0) kept.add(index);
  }
  return kept;
}

function hostNode(topology: PciTopology, host: number): TreeNode {
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

function moreNode(host: TreeNode, count: number): TreeNode {
  return {
    ...host,
    key: host.key.replace("host", "more"),
    kind: "more",
    label: `${String(count)} more function${count === 1 ? "" : "s"} of the root bus`,
    detail: "",
    acsState: "none",
    title: `${String(count)} functions of this root bus are not drawn`,
  };
}

function functionNode(fn: PciFunctionInfo, short: Short, vfs: number): TreeNode {
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

function place(root: HierarchyNode<Branch | undefined>): TreePicture {
  const all = root.descendants().filter((one) => one.depth > 0);
  const columns = columnsOf(all);
  const nodes = new Map<string, PlacedNode>();
  const order: PlacedNode[] = [];
  const edges: PlacedEdge[] = [];
  const rows = rowPositions(root);
  const visit = (one: HierarchyNode<Branch | undefined>, parent: PlacedNode | undefined): void => {
    const node = one.data?.node;
    let placed: PlacedNode | undefined;
    if (node !== undefined) {
      placed = {
        ...node,
        x: columns.at[one.depth] ?? 0,
        y: rows(one),
        width: widthOf(node),
        level: one.depth,
        parent: parent?.key,
      };
      nodes.set(node.key, placed);
      order.push(placed);
      if (parent !== undefined) edges.push({ from: parent, to: placed });
    }
    for (const child of one.children ?? []) visit(child, placed);
  };
  visit(root, undefined);
  const bottom = Math.max(0, ...order.map((node) => node.y)) + size.row / 2 + 6;
  return {
    nodes: order,
    edges,
    switches: switchFrames(order, edges),
    numa: numaFrames(order),
    width: Math.ceil(Math.max(0, ...order.map((node) => node.x + node.width)) + 12),
    height: Math.ceil(bottom),
  };
}

/** Rows come from d3's order of leaves; each host bridge begins a little further down. */
function rowPositions(
  root: HierarchyNode<Branch | undefined>,
): (one: HierarchyNode<Branch | undefined>) => number {
  const least = Math.min(...root.leaves().map((leaf) => leaf.x ?? 0));
  const hosts = new Map((root.children ?? []).map((host, i) => [host, i]));
  const hostOf = (one: HierarchyNode<Branch | undefined>): number =>
    hosts.get(one.ancestors().at(-2) ?? one) ?? 0;
  return (one) =>
    size.top + ((one.x ?? 0) - least) * size.row + hostOf(one) * size.hostGap + size.row / 2;
}

function widthOf(node: TreeNode): number {
  const text = node.label.length * size.char;
  if (node.kind === "port")
    return text + 14 + (node.acs === "" ? 0 : node.acs.length * size.small + 14);
  const detail = node.detail === "" ? 0 : node.detail.length * size.small + 8;
  return text + detail + (node.kind === "host" ? 18 : 10);
}

/** Where each level begins: as far right as the widest box and link label of the level above need. */
function columnsOf(all: readonly HierarchyNode<Branch | undefined>[]): {
  readonly at: readonly number[];
} {
  const widest: number[] = [];
  const gaps: number[] = [];
  for (const { depth, data, children } of all) {
    if (data === undefined) continue;
    // Leaves reach into the columns to their right, where their rows are empty.
    if (children !== undefined) {
      widest[depth] = Math.max(widest[depth] ?? 0, widthOf(data.node));
    }
    const label = data.node.link === "" ? 22 : data.node.link.length * size.small + 22;
    gaps[depth] = Math.max(gaps[depth] ?? 0, label);
  }
  const at: number[] = [0, size.left];
  const deepest = Math.max(0, ...all.map((one) => one.depth));
  for (let depth = 2; depth <= deepest; depth += 1) {
    at[depth] = (at[depth - 1] ?? 0) + (widest[depth - 1] ?? 0) + (gaps[depth] ?? 0);
  }
  return { at };
}

function switchFrames(nodes: readonly PlacedNode[], edges: readonly PlacedEdge[]): Frame[] {
  return nodes
    .filter((node) => node.fn?.portType === "switch-upstream")
    .flatMap((node) => {
      const ports = edges
        .filter((edge) => edge.from === node && edge.to.fn?.portType === "switch-downstream")
        .map((edge) => edge.to);
      if (ports.length === 0) return [];
      const ys = [node, ...ports].map((one) => one.y);
      const top = Math.min(...ys) - size.box / 2 - 2;
      const right = Math.max(...ports.map((port) => port.x + port.width));
      return [
        {
          key: node.key,
          label: "switch",
          x: node.x - 5,
          y: top,
          width: right + 5 - (node.x - 5),
          height: Math.max(...ys) + size.box / 2 + 2 - top,
        },
      ];
    });
}

/** Runs of host bridges on one NUMA node: the node of most functions below each. */
function numaFrames(nodes: readonly PlacedNode[]): Frame[] {
  const votes = new Map<number, Map<number, number>>();
  for (const { host, fn } of nodes) {
    if (fn?.numaNode === undefined || fn.numaNode < 0) continue;
    const counts = votes.get(host) ?? new Map<number, number>();
    counts.set(fn.numaNode, (counts.get(fn.numaNode) ?? 0) + 1);
    votes.set(host, counts);
  }
  const frames: { node: number; top: number; bottom: number }[] = [];
  for (const { host, y } of nodes) {
    const [best] = [...(votes.get(host) ?? [])].sort((a, b) => b[1] - a[1]);
    if (best === undefined) continue;
    const last = frames.at(-1);
    if (last?.node === best[0]) {
      last.top = Math.min(last.top, y);
      last.bottom = Math.max(last.bottom, y);
    } else frames.push({ node: best[0], top: y, bottom: y });
  }
  return frames.map(({ node, top, bottom }, i) => ({
    key: `${String(node)} ${String(i)}`,
    label: `NUMA ${String(node)}`,
    x: 4,
    y: top - size.box / 2,
    width: 18,
    height: bottom - top + size.box,
  }));
}
