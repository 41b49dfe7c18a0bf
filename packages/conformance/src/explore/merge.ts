import type { Exploration } from "./explore.js";
import { verdictOf } from "./explore.js";
import type { Failure } from "./failure.js";

/**
 * The results of shards as one. What they say together is said only where none is missing: part of a space proves nothing.
 *
 * @throws TypeError where they are not of one exploration, one shard comes twice, or there are none.
 */
export function merge(parts: readonly Exploration[]): Exploration {
  const [first] = parts;
  if (first === undefined) throw new TypeError("nothing to merge");
  const done = new Set<number>();
  for (const part of parts) {
    assertOne(first, part);
    for (const shard of part.shards.done) {
      if (done.has(shard)) throw new TypeError(`shard ${shard} comes twice`);
      done.add(shard);
    }
  }
  const sum = (of: (part: Exploration) => number): number =>
    parts.reduce((total, part) => total + of(part), 0);
  const failures = distinct(parts.flatMap((part) => part.failures));
  const exhausted = done.size === first.shards.count && parts.every((part) => part.exhausted);
  const bounded = parts.some((part) => part.bounded);
  return {
    ...first,
    shards: { count: first.shards.count, done: [...done].sort((a, b) => a - b) },
    verdict: verdictOf(failures.length, exhausted, bounded),
    interleavings: sum((part) => part.interleavings),
    pruned: sum((part) => part.pruned),
    steps: sum((part) => part.steps),
    classes: sum((part) => part.classes),
    states: sum((part) => part.states),
    countsExact: parts.length === 1 && first.countsExact,
    edges: first.edges === null ? null : Math.max(...parts.map((part) => part.edges ?? 0)),
    maxPreemptions: Math.max(...parts.map((part) => part.maxPreemptions)),
    exhausted,
    bounded,
    failures,
    lockOrder: distinct(parts.flatMap((part) => part.lockOrder)),
  };
}

function assertOne(first: Exploration, part: Exploration): void {
  for (const key of ["scenario", "strategy", "bound", "seed"] as const) {
    if (part[key] !== first[key]) {
      throw new TypeError(`${key} differs: ${String(first[key])} and ${String(part[key])}`);
    }
  }
  if (part.shards.count !== first.shards.count) {
    throw new TypeError(`of ${first.shards.count} shards and of ${part.shards.count}`);
  }
}

/** Each once: shards may find the same failure, by different schedules. */
function distinct<T extends Failure | readonly [string, string]>(all: readonly T[]): readonly T[] {
  const seen = new Set<string>();
  return all.filter((one) => {
    const key = "kind" in one ? `${one.kind} ${one.message}` : one.join(" ");
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
