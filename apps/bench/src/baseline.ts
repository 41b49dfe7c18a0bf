import { readFileSync } from "node:fs";
import type { BenchRow, GrowthRow, MemoryRow } from "./case.js";
import type { MachineFacts } from "./facts.js";
import { fewestP, fitPower, mannWhitney, median } from "./statistics.js";

/** What is compared of a run. Ratios, not times, so that a baseline of another machine still says something. */
export interface Measurements {
  readonly rows: readonly Pick<BenchRow, "id" | "ratios">[];
  readonly growth: readonly Pick<GrowthRow, "id" | "points">[];
  readonly memory: readonly Pick<MemoryRow, "id" | "bytes">[];
}

/** A result file, as far as it is compared. */
export interface BaselineFile extends Measurements {
  readonly machine: MachineFacts;
}

/** How one number stands against the baseline. */
export interface Change {
  readonly id: string;
  readonly what: What;
  readonly before: number;
  readonly now: number;
  /** Of the Mann-Whitney test on the rounds; undefined where there are too few for any p below {@link SIGNIFICANT}. */
  readonly p: number | undefined;
  /** `cannot tell`: a difference this small is nothing without a test, or one this large was not found by it. */
  readonly kind: "worse" | "better" | "same" | "cannot tell";
}

type What = "ratio" | "exponent" | "bytes";

/** A difference counts from this p on. */
const SIGNIFICANT = 0.01;

/** How far two numbers are apart, and from where on that counts. */
interface Measure {
  readonly apart: (before: number, now: number) => number;
  /** With a test behind it. It sees the rounds of one process: what the next process makes otherwise, by a fifth at times, is no change. */
  readonly noticeable: number;
  /** Without one: noise of a single round does not reach it. */
  readonly far: number;
}

/** How many times as much, on a scale where half is as far from 1 as twice. */
const times = (before: number, now: number): number => Math.abs(Math.log(now / before));

const measures: Readonly<Record<What, Measure>> = {
  ratio: { apart: times, noticeable: Math.log(1.25), far: Math.log(1.5) },
  exponent: {
    apart: (before, now) => Math.abs(now - before),
    noticeable: 0.15,
    far: 0.3,
  },
  bytes: {
    // Below a byte each it is chance what a collection has left, and what is freed may even come out negative.
    apart: (before, now) =>
      Math.abs(now - before) < 1 ? 0 : times(Math.max(before, 1), Math.max(now, 1)),
    noticeable: Math.log(1.1),
    far: Math.log(1.5),
  },
};

/** What both sides have, in this run's order. */
export function compare(before: Measurements, now: Measurements): readonly Change[] {
  return [
    ...both(before.rows, now.rows).map(([old, row]) =>
      change(row.id, "ratio", old.ratios, row.ratios),
    ),
    ...both(before.growth, now.growth).flatMap(([old, row]) => {
      const sizes = commonSizes(old, row);
      if (sizes.length < 2) return [];
      return [change(row.id, "exponent", exponents(old, sizes), exponents(row, sizes))];
    }),
    ...both(before.memory, now.memory).map(([old, row]) =>
      change(row.id, "bytes", [old.bytes], [row.bytes]),
    ),
  ];
}

/** Everything in it by name: one id may stand for a ratio, a growth and bytes. */
export function namesOf({
  rows,
  growth,
  memory,
}: Readonly<Record<keyof Measurements, readonly { readonly id: string }[]>>): string[] {
  return [
    ...rows.map(({ id }) => nameOf("ratio", id)),
    ...growth.map(({ id }) => nameOf("exponent", id)),
    ...memory.map(({ id }) => nameOf("bytes", id)),
  ];
}

/** As {@link namesOf} has it. */
export function nameOf(what: What, id: string): string {
  return what === "ratio" ? id : `${id} (${what})`;
}

function both<T extends { readonly id: string }>(
  before: readonly T[],
  now: readonly T[],
): (readonly [T, T])[] {
  return now.flatMap((row) => {
    const old = before.find(({ id }) => id === row.id);
    return old === undefined ? [] : [[old, row] as const];
  });
}

type Series = Pick<GrowthRow, "points">;

/** A quick run leaves the largest size out, and an exponent is of its sizes. */
function commonSizes(one: Series, other: Series): readonly number[] {
  const known = new Set(one.points.map(({ size }) => size));
  return other.points.map(({ size }) => size).filter((size) => known.has(size));
}

/** The exponent of each round by itself. */
function exponents({ points }: Series, sizes: readonly number[]): number[] {
  const used = points.filter(({ size }) => sizes.includes(size));
  const rounds = Math.min(...used.map((point) => point.rounds.length));
  return Array.from({ length: rounds }, (_, round) => {
    const law = used.map((point) => ({
      size: point.size,
      cost: point.rounds[round] ?? Number.NaN,
    }));
    return fitPower(law).exponent;
  });
}

function change(id: string, what: What, old: readonly number[], fresh: readonly number[]): Change {
  const [before, now] = [median(old), median(fresh)];
  const { apart, noticeable, far } = measures[what];
  const testable = fewestP(old.length, fresh.length) < SIGNIFICANT;
  const p = testable ? mannWhitney(old, fresh) : undefined;
  return { id, what, before, now, p, kind: kindOf() };

  function kindOf(): Change["kind"] {
    const distance = apart(before, now);
    const other = now > before ? "worse" : "better";
    if (p === undefined) return distance >= far ? other : "cannot tell";
    if (distance < noticeable) return "same";
    if (p < SIGNIFICANT) return other;
    // Rounds that overlap, of which the middle ones are far apart, show neither a difference nor that there is none.
    return distance >= far ? "cannot tell" : "same";
  }
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
  if (!isRecord(value) || value.schemaVersion !== 3) return false;
  const { machine, rows, growth, memory } = value;
  return (
    isRecord(machine) &&
    "cpu" in machine &&
    isListOf(rows, (row) => isNumbers(row.ratios)) &&
    isListOf(growth, ({ points }) => Array.isArray(points) && points.every(isPoint)) &&
    isListOf(memory, ({ bytes }) => typeof bytes === "number")
  );
}

function isPoint(value: unknown): boolean {
  return isRecord(value) && typeof value.size === "number" && isNumbers(value.rounds);
}

/** A list of records with an `id`, each as `holds` says. */
function isListOf(value: unknown, holds: (row: Record<string, unknown>) => boolean): boolean {
  return (
    Array.isArray(value) &&
    value.every((row) => isRecord(row) && typeof row.id === "string" && holds(row))
  );
}

/** One at least, all above 0: what a power law, or a ratio of two, can be taken of. */
function isNumbers(value: unknown): boolean {
  return (
    Array.isArray(value) && value.length > 0 && value.every((n) => typeof n === "number" && n > 0)
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
