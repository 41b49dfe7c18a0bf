import type { Scheduler } from "./scheduler.js";

const counters = new WeakMap<Scheduler, Map<string, number>>();

/**
 * @internal The next number of `kind` on that scheduler, from 1. A fresh scheduler counts afresh, so that a replayed run sees the same
 * names.
 */
export function nextOrdinal(scheduler: Scheduler, kind: string): number {
  const own = scheduler.watch?.ordinal?.(kind);
  if (own !== undefined) return own;
  let kinds = counters.get(scheduler);
  if (kinds === undefined) {
    kinds = new Map();
    counters.set(scheduler, kinds);
  }
  const next = (kinds.get(kind) ?? 0) + 1;
  kinds.set(kind, next);
  return next;
}
