import type { PciTopology } from "@peerbar/p2pdma";
import { cluster, type HierarchyNode, hierarchy } from "d3-hierarchy";
import { type Branch, branchesOf, type TreeOptions } from "./tree-branches.js";
import type { TreeNode } from "./tree-node.js";

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

/** Lays the machine out: one row a leaf, parents amid their children, one column a level. */
export function layOut(topology: PciTopology, options: TreeOptions): TreePicture {
  const branches = branchesOf(topology, options);
  const root = hierarchy<Branch | undefined>(undefined, (branch) =>
    branch === undefined ? branches : branch.children,
  );
  cluster<Branch | undefined>()
    .nodeSize([1, 1])
    .separation(() => 1)(root);
  return place(root);
}

function place(root: HierarchyNode<Branch | undefined>): TreePicture {
  const all = root.descendants().filter((one) => one.depth > 0);
  const columns = columnsOf(all);
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
