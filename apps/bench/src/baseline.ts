import { readFileSync } from "node:fs";
import type { BenchRow } from "./case.js";
import type { MachineFacts } from "./facts.js";
import { mannWhitney, median } from "./statistics.js";

/** The part of a result file that is compared. */
export interface BaselineFile {
  readonly machine: MachineFacts;
  readonly rows: readonly Pick<BenchRow, "id" | "ratios">[];
}

/** How one case stands against the baseline. */
export interface Change {
  readonly id: string;
  readonly before: number;
  readonly now: number;
  /** Of the Mann-Whitney test on the rounds' ratios. */
  readonly p: number;
  readonly kind: "slower" | "faster" | "same";
}

/** A difference counts from this p on, and from this share of the value on: ratios of one build differ by a few percent. */
const SIGNIFICANT = 0.01;
const NOTICEABLE = 0.1;

/** Compares by ratio, not by time, so that a baseline of another machine still says something. Cases that only one side has are left out. */
export function compare(
  before: readonly Pick<BenchRow, "id" | "ratios">[],
  now: readonly Pick<BenchRow, "id" | "ratios">[],
): readonly Change[] {
  return now.flatMap(({ id, ratios }) => {
    const old = before.find((row) => row.id === id);
    return old === undefined ? [] : [change(id, old.ratios, ratios)];
  });
}

function change(id: string, old: readonly number[], ratios: readonly number[]): Change {
  const [before, now] = [median(old), median(ratios)];
  const p = mannWhitney(old, ratios);
  const far = Math.abs(now / before - 1) >= NOTICEABLE && p < SIGNIFICANT;
  return { id, before, now, p, kind: !far ? "same" : now > before ? "slower" : "faster" };
}

/** @throws Error with a line for the user where the file is no result of this suite. */
export function readBaseline(path: string): BaselineFile {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new Error(`${path}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
  if (!isResult(parsed))
    throw new Error(`${path} is not a result of this suite (--json FILE), or of another version`);
  return parsed;
}

function isResult(value: unknown): value is BaselineFile {
  if (typeof value !== "object" || value === null) return false;
  const { schemaVersion, machine, rows } = value as Partial<Record<string, unknown>>;
  return (
    schemaVersion === 2 &&
    typeof machine === "object" &&
    machine !== null &&
    "cpu" in machine &&
    Array.isArray(rows) &&
    rows.every(
      (row: { id?: unknown; ratios?: unknown }) =>
        typeof row.id === "string" &&
        Array.isArray(row.ratios) &&
        row.ratios.every((ratio) => typeof ratio === "number"),
    )
  );
}
