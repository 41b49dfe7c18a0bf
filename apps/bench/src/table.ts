import type { Change } from "./baseline.js";
import type { BenchRow, GrowthRow, LimitRow, MemoryRow } from "./case.js";

export function ratioTable(rows: readonly BenchRow[]): string {
  return table(
    ["case", "ns/op", "ratio +-", "yardstick", "ns/op", "ratio", "target", ""],
    rows.map((row) => [
      row.id,
      number(row.ns),
      `${(row.spread * 100).toFixed(0)} %`,
      row.yardstick,
      number(row.yardstickNs),
      row.ratio.toFixed(row.ratio < 10 ? 2 : 1),
      `<= ${String(row.target)}`,
      row.verdict,
    ]),
  );
}

export function growthTable(rows: readonly GrowthRow[]): string {
  return table(
    ["growth", "from", "to", "of", "", "first", "last", "exponent", "r2", "target", ""],
    rows.map(({ id, unit, cost, points, exponent, r2, target, verdict }) => [
      id,
      number(points[0]?.size ?? 0),
      number(points.at(-1)?.size ?? 0),
      unit,
      cost === "ns" ? "ns/op" : cost,
      number(points[0]?.value ?? 0),
      number(points.at(-1)?.value ?? 0),
      exponent.toFixed(2),
      r2.toFixed(2),
      `<= ${String(target)}`,
      verdict,
    ]),
  );
}

export function memoryTable(rows: readonly MemoryRow[]): string {
  return table(
    ["memory", "bytes each", "heap", "external", "count", "target", ""],
    rows.map((row) => [
      row.id,
      ...[row.bytes, row.heap, row.external].map((bytes) => bytes?.toFixed(1) ?? "-"),
      String(row.count),
      `<= ${String(row.target)}`,
      row.verdict,
    ]),
  );
}

export function limitTable(rows: readonly LimitRow[]): string {
  return table(
    ["the whole of", "seconds", "limit", ""],
    rows.map(({ id, seconds, target, verdict }) => [
      id,
      seconds.toFixed(2),
      `<= ${String(target)}`,
      verdict,
    ]),
  );
}

export function changeTable(changes: readonly Change[]): string {
  return table(
    ["case", "what", "before", "now", "p", ""],
    changes.map(({ id, what, before, now, p, kind }) => [
      id,
      what,
      before.toFixed(2),
      now.toFixed(2),
      p?.toFixed(4) ?? "-",
      kind,
    ]),
  );
}

/** Columns as wide as their longest cell. */
export function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const lines = [head, ...body];
  const widths = head.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Four digits at least; large ones by their power of ten. */
function number(value: number): string {
  if (value >= 1e7) return value.toExponential(1);
  return value >= 1000 ? value.toFixed(0) : value.toFixed(Number.isInteger(value) ? 0 : 1);
}
