import { DmaBufError } from "@peerbar/core";
import { judgeHostBridge, type PciFunctionInfo, type PciTopology } from "@peerbar/p2pdma";
import { acsShort, kindOf, linkShort, nameOf } from "@peerbar/words";
import { type ExitCode, exit } from "../exit.js";
import { functionJson, hostBridgesJson } from "../function-json.js";
import { cut, type Glyphs, glyphsFor } from "../glyphs.js";
import type { Io } from "../io.js";
import { sourceJson } from "../json.js";
import { isNarrowed, type Selection, selectorTests } from "../select.js";
import { readSubject } from "../source.js";
import { sourceNotes } from "../source-notes.js";
import { makeStyle, type Style } from "../style.js";
import { keepPaths, layOutTree, type TreeOptions, type TreeRow } from "../tree.js";
import { paragraph, plural } from "../wrap.js";

export interface TopoOptions extends Selection {
  readonly file?: string | undefined;
  readonly all?: boolean | undefined;
  readonly vfs?: boolean | undefined;
  readonly ascii?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** `peerbar topo`: the PCI tree, with what decides about peer traffic beside each function. */
export async function topo(io: Io, options: TopoOptions): Promise<ExitCode> {
  const subject = await readSubject(options);
  const { topology } = subject;
  const kept = chosen(topology, options);
  if (options.json === true) {
    const functions = topology.functions.filter((_, index) => kept.has(index));
    const report = {
      schemaVersion: 1,
      source: sourceJson(subject),
      cpu: subject.cpu,
      hostBridges: hostBridgesJson(topology),
      functions: functions.map((fn) => functionJson(topology, fn)),
    };
    io.out(`${JSON.stringify(report, null, 1)}\n`);
    return exit.ok;
  }
  const glyphs = glyphsFor(io, options.ascii);
  writeTree(io, topology, glyphs, {
    kept,
    listVfs: options.vfs === true || isNarrowed(options),
    listAll: options.all === true || isNarrowed(options),
  });
  return exit.ok;
}

/** Functions that the selectors choose, and all that lead to them. */
function chosen(topology: PciTopology, options: TopoOptions): ReadonlySet<number> {
  const tests = selectorTests(topology, options);
  const matching = topology.functions.flatMap((fn, index) =>
    tests.every((test) => test(fn)) ? [index] : [],
  );
  if (matching.length === 0) {
    throw new DmaBufError("ENODEV", "select", `no function of ${topology.source.name} matches`, {
      hint: "widen -s, -d or --class; without them every function is shown",
    });
  }
  return keepPaths(topology, matching);
}

/** One line: what stands in each column. */
interface Cells {
  readonly left: string;
  readonly link: string;
  readonly acs: string;
  readonly node: string;
  readonly group: string;
  readonly name: string;
  readonly row: TreeRow;
}

const columns = ["left", "link", "acs", "node", "group"] as const;
const titles = { left: "", link: "link", acs: "ACS", node: "node", group: "group" } as const;

function writeTree(io: Io, topology: PciTopology, glyphs: Glyphs, options: TreeOptions): void {
  const style = makeStyle(io.color);
  const lines = layOutTree(topology, glyphs, options).map((row) => cellsOf(topology, row));
  const fns = lines.filter((line) => line.row.fn !== undefined);
  const width = (column: (typeof columns)[number]): number => {
    const longest = Math.max(...fns.map((line) => line[column].length));
    return longest === 0 ? 0 : Math.max(longest, titles[column].length);
  };
  const widths = new Map(columns.map((column) => [column, width(column)]));
  const used = [...widths.values()].reduce((sum, n) => sum + (n === 0 ? 0 : n + 2), 0);
  const room = Math.max(8, io.width - used);
  const pad = (line: Record<(typeof columns)[number], string>): string =>
    columns
      .filter((column) => widths.get(column) !== 0)
      .map((column) => line[column].padEnd(widths.get(column) ?? 0))
      .join("  ");
  const { source, functions, hostBridges } = topology;
  io.out(
    `${style.bold(source.name)}: ${plural(functions.length, "function")}, ${plural(hostBridges.length, "host bridge")}\n`,
  );
  io.out(`${style.dim(`${pad(titles)}  name`.trimEnd())}\n`);
  for (const line of lines) {
    if (line.row.fn === undefined) {
      io.out(`${paintHost(style, line, io.width, glyphs)}\n`);
      continue;
    }
    const text = paint(style, line, pad(line));
    io.out(`${`${text}  ${cut(line.name, room, glyphs)}`.trimEnd()}\n`);
  }
  const legend =
    "link: GT/s x lanes, now/at best. ACS: !RR,CR,EC redirect peer requests up; off: none set; -: no ACS; ?: not shown.";
  io.out(`\n${paragraph(legend, io.width)}`);
  for (const note of sourceNotes(source)) {
    io.out(style.warn(paragraph(note, io.width)));
  }
}

function paintHost(style: Style, { left, row }: Cells, width: number, glyphs: Glyphs): string {
  const text = cut(left, width, glyphs);
  return row.depth === 0 ? style.bold(text) : style.dim(text);
}

/** Colours whole cells only, so that widths stay what they are. */
function paint(style: Style, { acs, row }: Cells, text: string): string {
  if (acs.startsWith("!")) return text.replace(acs, () => style.bad(acs));
  if (acs === "?") return text.replace("  ?", () => `  ${style.warn("?")}`);
  return row.fn !== undefined && kindOf(row.fn) !== undefined ? style.good(text) : text;
}

function cellsOf(topology: PciTopology, row: TreeRow): Cells {
  const empty = { link: "", acs: "", node: "", group: "", name: "", row };
  const { fn } = row;
  if (fn === undefined) {
    return {
      ...empty,
      left: row.depth === 0 ? hostLine(topology, row) : `${row.strokes}${row.note}`,
    };
  }
  const names = fn.deviceNames.length === 0 ? "" : `${fn.deviceNames.join(",")} `;
  const driver = fn.driver === undefined || fn.driver === "pcieport" ? "" : ` [${fn.driver}]`;
  return {
    left: `${row.strokes}${fn.address} ${roleOf(fn)}`.trimEnd(),
    link: linkShort(fn.link),
    acs: acsShort(fn.acs) === "-" && fn.busNumbers === undefined ? "" : acsShort(fn.acs),
    node: fn.numaNode === undefined || fn.numaNode < 0 ? "" : String(fn.numaNode),
    group: fn.iommuGroup === undefined ? "" : String(fn.iommuGroup),
    name: `${names}${row.note === "" ? "" : `+${row.note} `}${nameOf(fn)}${driver}`,
    row,
  };
}

const roles: Partial<Record<NonNullable<PciFunctionInfo["portType"]>, string>> = {
  "root-port": "root port",
  "switch-upstream": "switch up",
  "switch-downstream": "switch down",
  "pcie-to-pci": "to PCI",
  "pci-to-pcie": "to PCIe",
};

function roleOf(fn: PciFunctionInfo): string {
  const role = fn.portType === undefined ? undefined : roles[fn.portType];
  if (role !== undefined) return role;
  if (fn.busNumbers !== undefined) return "bridge";
  return fn.physfn >= 0 ? `${kindOf(fn) ?? ""} VF`.trimStart() : (kindOf(fn) ?? "");
}

function hostLine(topology: PciTopology, row: TreeRow): string {
  const { root, listed, sameOnly, why } = judgeHostBridge(topology, row.host);
  const verdict =
    listed === undefined
      ? "not shown"
      : !listed
        ? "not listed"
        : sameOnly
          ? "listed for itself only"
          : "listed";
  return `host bridge ${root}: ${verdict} for peer traffic (${why})`;
}
