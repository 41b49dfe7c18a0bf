import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import type { BenchRow } from "./case.js";
import { measure } from "./measure.js";
import { suites } from "./suites.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "string" }, quick: { type: "boolean", default: false } },
});
const unknown = positionals.filter((name) => !(name in suites));
if (unknown.length > 0) {
  process.stderr.write(
    `bench: no suite ${unknown.join(", ")}; there are: ${Object.keys(suites).join(", ")}\n`,
  );
  process.exit(2);
}
const chosen = positionals.length > 0 ? positionals : Object.keys(suites);
const cases = chosen.flatMap((name) => suites[name] ?? []);
const rows: BenchRow[] = [];
for (const [index, benchCase] of cases.entries()) {
  process.stderr.write(`bench: ${String(index + 1)}/${String(cases.length)} ${benchCase.id} ...\n`);
  const row = await measure(benchCase, values.quick ? 100 : 1000);
  if ("skipped" in row) process.stderr.write(`bench: skipped ${benchCase.id}: ${row.skipped}\n`);
  else rows.push(row);
}
process.stdout.write(`${table(rows)}\n`);
if (values.json !== undefined) {
  const machine = {
    node: process.version,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
  };
  writeFileSync(
    values.json,
    `${JSON.stringify({ schemaVersion: 1, machine, rows }, undefined, 2)}\n`,
  );
}
// Ratios wobble on busy machines: a quick run fails only when far off.
const slack = values.quick ? 1.5 : 1;
if (rows.some((row) => row.ratio > row.target * slack)) process.exitCode = 1;

function table(all: readonly BenchRow[]): string {
  const head = ["case", "ns/op", "spread", "yardstick", "ns/op", "ratio", "target", ""];
  const body = all.map((row) => [
    row.id,
    row.ns.toFixed(1),
    `${(row.spread * 100).toFixed(0)} %`,
    row.yardstick,
    row.yardstickNs.toFixed(1),
    row.ratio.toFixed(1),
    `<= ${String(row.target)}`,
    row.verdict,
  ]);
  const widths = head.map((_, i) =>
    Math.max(...[head, ...body].map((line) => line[i]?.length ?? 0)),
  );
  return [head, ...body]
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
