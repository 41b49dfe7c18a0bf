import targets from "../targets.json" with { type: "json" };
import type { BenchRow, LimitRow, Verdict } from "./case.js";

/** At most so many times its yardstick. */
export interface RatioTarget {
  readonly yardstick: string;
  readonly ratio: number;
  readonly why: string;
}

const ratios: Readonly<Record<string, RatioTarget>> = targets.ratios;
const exponents: Readonly<Record<string, { exponent: number; why: string }>> = targets.exponents;
const bytes: Readonly<Record<string, { bytes: number; why: string }>> = targets.bytes;
const seconds: Readonly<Record<string, { seconds: number; why: string }>> = targets.seconds;

/** A quick run on a busy machine wobbles: it fails only beyond so many times the target. */
const QUICK_SLACK = 1.5;

export function ratioTarget(id: string): RatioTarget {
  return known(ratios[id], id);
}

export function exponentTarget(id: string): number {
  return known(exponents[id], id).exponent;
}

export function bytesTarget(id: string): number {
  return known(bytes[id], id).bytes;
}

/** Those of the rows that were promised in seconds too. Such a promise is about machines like those it was made on. */
export function limitsOf(rows: readonly Pick<BenchRow, "id" | "ns">[]): LimitRow[] {
  return rows.flatMap(({ id, ns }) => {
    const limit = seconds[id]?.seconds;
    if (limit === undefined) return [];
    return [{ id, seconds: ns / 1e9, target: limit, verdict: verdictOf(ns / 1e9, limit) }];
  });
}

export function verdictOf(value: number, target: number): Verdict {
  return value <= target ? "pass" : "falls short";
}

/** Whether a run with these rows has failed: any above its target; in a quick run, any ratio beyond the slack. */
export function hasFailed(
  rows: readonly { readonly value: number; readonly target: number }[],
  quick: boolean,
): boolean {
  return rows.some(({ value, target }) => !(value <= target * (quick ? QUICK_SLACK : 1)));
}

function known<T>(target: T | undefined, id: string): T {
  if (target === undefined) throw new Error(`${id} has no target in targets.json`);
  return target;
}
