import type { PciTopology } from "@peerbar/p2pdma";
import { kindOf } from "@peerbar/words";
import {
  bareNode,
  functionNode,
  hostNode,
  moreNode,
  shortener,
  type TreeNode,
} from "./tree-node.js";

export interface TreeOptions {
  /** Functions to draw, with all above them; undefined: the whole machine. */
  readonly only?: readonly string[];
  readonly vfs: boolean;
  /** Also the functions of root buses that are part of the CPU. */
  readonly crowd: boolean;
  /** Drawn whatever the other options say. */
  readonly always: readonly string[];
}

/** A node of the picture with what hangs below it. */
export interface Branch {
  readonly node: TreeNode;
  readonly children: Branch[];
}

/** The host bridges with all that is drawn below them. Those that hold nothing but parts of the CPU are one line together. */
export function branchesOf(topology: PciTopology, options: TreeOptions): Branch[] {
  const { children, vfs, hidden } = placesOf(topology, options);
  const short = shortener(topology);
  const below = (above: number): Branch[] =>
    (children.get(above) ?? []).flatMap((index) => {
      const fn = topology.functions[index];
      if (fn === undefined) return [];
      return [{ node: functionNode(fn, short, vfs.get(index) ?? 0), children: below(index) }];
    });
  const hosts: Branch[] = [];
  let bare: TreeNode[] = [];
  const flush = (): void => {
    if (bare.length > 0) hosts.push({ node: bareNode(bare), children: [] });
    bare = [];
  };
  for (const host of topology.hostBridges.keys()) {
    const found = below(keyOfHost(host));
    const more = hidden.get(keyOfHost(host)) ?? 0;
    if (found.length === 0 && more === 0) continue;
    const node = hostNode(topology, host);
    if (found.length === 0) {
      bare.push(node);
      continue;
    }
    flush();
    if (more > 0) found.push({ node: moreNode(node, more), children: [] });
    hosts.push({ node, children: found });
  }
  flush();
  return hosts;
}

/** Where functions stand: by the index of the one above, or by {@link keyOfHost}. */
interface Places {
  readonly children: ReadonlyMap<number, readonly number[]>;
  /** Virtual functions that are not drawn, by their physical function. */
  readonly vfs: ReadonlyMap<number, number>;
  /** Functions of a root bus that are not drawn. */
  readonly hidden: ReadonlyMap<number, number>;
}

/** No index of a function. */
function keyOfHost(host: number): number {
  return -1 - host;
}

function placesOf(topology: PciTopology, options: TreeOptions): Places {
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
    const above = fn.parent >= 0 ? fn.parent : keyOfHost(fn.hostBridge);
    const plain = fn.parent < 0 && fn.busNumbers === undefined && !hasChildren.has(index);
    const dull = plain && kindOf(fn) === undefined && !options.always.includes(fn.address);
    const siblings = children.get(above);
    if (dull && !options.crowd) hidden.set(above, (hidden.get(above) ?? 0) + 1);
    else if (siblings === undefined) children.set(above, [index]);
    else siblings.push(index);
  }
  return { children, vfs, hidden };
}

/** Indexes of what is drawn, with all above it. */
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
