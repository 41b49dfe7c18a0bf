import type { PciFunctionInfo, PciTopology } from "@peerbar/p2pdma";
import { kindOf } from "@peerbar/words";
import type { Glyphs } from "./glyphs.js";

/** One line of the tree: a host bridge (depth 0), a function, or a note on functions that are not listed. */
export interface TreeRow {
  readonly depth: number;
  /** Index of the host bridge. */
  readonly host: number;
  /** Tree strokes before the address. */
  readonly strokes: string;
  readonly fn: PciFunctionInfo | undefined;
  /** `8 VFs`, or what is left out. */
  readonly note: string;
}

export interface TreeOptions {
  /** Indexes of the functions to show. */
  readonly kept: ReadonlySet<number>;
  /** Each virtual function by itself. */
  readonly listVfs: boolean;
  /** Also what sits on a root bus by the dozen and shares no memory. */
  readonly listAll: boolean;
}

/** The given functions and every bridge above them. */
export function keepPaths(topology: PciTopology, indexes: readonly number[]): Set<number> {
  const kept = new Set<number>();
  for (const start of indexes) {
    for (let at = start; at >= 0 && !kept.has(at); at = topology.functions[at]?.parent ?? -1) {
      kept.add(at);
    }
  }
  return kept;
}

/** Fewer than this of a kind are listed anyway. */
const CROWD = 4;

interface Branch {
  readonly fn: PciFunctionInfo | undefined;
  readonly children: readonly number[];
  readonly note: string;
}

/** The tree as lines, host bridge by host bridge. */
export function layOutTree(topology: PciTopology, glyphs: Glyphs, options: TreeOptions): TreeRow[] {
  const below = childLists(topology, options);
  const rows: TreeRow[] = [];
  const walk = (
    branches: readonly Branch[],
    strokes: string,
    depth: number,
    host: number,
  ): void => {
    for (const [i, { fn, children, note }] of branches.entries()) {
      const last = i === branches.length - 1;
      rows.push({
        depth,
        host,
        strokes: strokes + (last ? glyphs.last : glyphs.branch),
        fn,
        note,
      });
      const deeper = strokes + (last ? glyphs.blank : glyphs.pipe);
      walk(
        children.map((index) => branchOf(topology, below, options, index)),
        deeper,
        depth + 1,
        host,
      );
    }
  };
  for (const host of topology.hostBridges.keys()) {
    const roots = below.roots[host] ?? [];
    if (roots.length === 0) continue;
    rows.push({ depth: 0, host, strokes: "", fn: undefined, note: "" });
    walk(rootBranches(topology, below, options, roots), "", 1, host);
  }
  return rows;
}

interface ChildLists {
  readonly children: readonly (readonly number[])[];
  readonly roots: readonly (readonly number[])[];
  /** Virtual functions that are not listed, by physical function. */
  readonly vfs: Int32Array;
}

function childLists({ functions, hostBridges }: PciTopology, options: TreeOptions): ChildLists {
  const children: number[][] = functions.map(() => []);
  const roots: number[][] = hostBridges.map(() => []);
  const vfs = new Int32Array(functions.length);
  for (const [index, fn] of functions.entries()) {
    if (!options.kept.has(index)) continue;
    if (fn.physfn >= 0 && !options.listVfs) vfs[fn.physfn] = (vfs[fn.physfn] ?? 0) + 1;
    else if (fn.parent >= 0) children[fn.parent]?.push(index);
    else roots[fn.hostBridge]?.push(index);
  }
  return { children, roots, vfs };
}

function branchOf(
  topology: PciTopology,
  below: ChildLists,
  options: TreeOptions,
  index: number,
): Branch {
  const vfs = options.listVfs ? 0 : (below.vfs[index] ?? 0);
  return {
    fn: topology.functions[index],
    children: below.children[index] ?? [],
    note: vfs === 0 ? "" : `${String(vfs)} VF${vfs === 1 ? "" : "s"}`,
  };
}

/** Servers have dozens of functions on their root buses that are part of the CPU: together they are one line. */
function rootBranches(
  topology: PciTopology,
  below: ChildLists,
  options: TreeOptions,
  roots: readonly number[],
): Branch[] {
  const dull = roots.filter((index) => {
    const fn = topology.functions[index];
    const leaf = (below.children[index] ?? []).length === 0;
    return leaf && fn?.busNumbers === undefined && fn !== undefined && kindOf(fn) === undefined;
  });
  const hidden = new Set(options.listAll || dull.length < CROWD ? [] : dull.slice(1));
  const shown = roots.filter((index) => !hidden.has(index));
  const branches = shown.map((index) => branchOf(topology, below, options, index));
  if (hidden.size > 0) {
    const note = `${String(hidden.size)} more functions of the root bus (--all lists them)`;
    branches.push({ fn: undefined, children: [], note });
  }
  return branches;
}
