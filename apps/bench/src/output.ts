import { writeFileSync } from "node:fs";
import { dirname, join, parse } from "node:path";
import anchors from "../anchors.json" with { type: "json" };
import type { MachineFacts } from "./facts.js";
import { growthPlot } from "./plot.js";
import type { Results } from "./run.js";
import { growthTable, limitTable, memoryTable, ratioTable, table } from "./table.js";
import { limitsOf } from "./targets.js";

/** All tables of a run, with what others have published on their machines at the end. */
export function formatResults({ rows, growth, memory }: Results): string {
  const limits = limitsOf(rows);
  const parts = [
    ...(rows.length > 0 ? [ratioTable(rows)] : []),
    ...(limits.length > 0 ? [limitTable(limits)] : []),
    ...(growth.length > 0 ? [growthTable(growth)] : []),
    ...(memory.length > 0 ? [memoryTable(memory)] : []),
  ];
  const measured = new Set(rows.map(({ id }) => id));
  const beside = anchors.filter((anchor) => measured.has(anchor.beside));
  if (beside.length > 0) parts.push(anchorTable(beside));
  return `${parts.join("\n\n")}\n`;
}

function anchorTable(beside: typeof anchors): string {
  return table(
    ["published, from another machine: not measured here", "value", "to be read beside"],
    beside.map(({ what, value, beside: id }) => [what, value, id]),
  );
}

/** Writes the result as JSON and, next to it, one SVG a growth series. Returns the files. */
export function writeResults(path: string, results: Results, machine: MachineFacts): string[] {
  const { rows, growth, memory, skipped } = results;
  const document = {
    schemaVersion: 3,
    machine,
    rows,
    limits: limitsOf(rows),
    growth,
    memory,
    skipped,
    anchors,
  };
  writeFileSync(path, `${JSON.stringify(document, undefined, 2)}\n`);
  const plots = growth.map((row) => {
    const name = `${parse(path).name}.${row.id.replaceAll("/", "-")}.svg`;
    const file = join(dirname(path), name);
    writeFileSync(file, growthPlot(row));
    return file;
  });
  return [path, ...plots];
}
