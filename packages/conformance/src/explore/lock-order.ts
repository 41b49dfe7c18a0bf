import { stackHere } from "./stacks.js";
import type { WatchedLock } from "./watched.js";

/** Two lock classes, taken one inside the other. */
export interface LockEdge {
  /** Class that was held. */
  readonly held: string;
  /** Class that was asked for. */
  readonly wanted: string;
  /** Where it was first seen. */
  readonly stack: string;
  /** Schedule of the run that showed it first; undefined while that run goes on. */
  schedule: string | undefined;
}

/** An order that contradicts ones seen before. */
export interface Inversion {
  readonly edge: LockEdge;
  /** The edges that lead back, in their order. */
  readonly back: readonly LockEdge[];
}

/**
 * Lock-order checking as lockdep does it: an edge from each lock held to each one asked for, by class, over all runs. A circle of edges is an
 * inversion, whether or not any run came to a deadlock by it. Locks of one class count by instance.
 */
export class LockOrder {
  readonly #edges = new Map<string, Map<string, LockEdge>>();
  #fresh: LockEdge[] = [];

  get edges(): readonly LockEdge[] {
    return [...this.#edges.values()].flatMap((from) => [...from.values()]);
  }

  /** Edges of the run that just ended get its schedule. */
  runEnded(schedule: () => string): void {
    if (this.#fresh.length === 0) return;
    const text = schedule();
    for (const edge of this.#fresh) edge.schedule = text;
    this.#fresh = [];
  }

  /** Forgets all orders seen. */
  clear(): void {
    this.#edges.clear();
    this.#fresh = [];
  }

  /** `held` is held where `wanted` is asked for. The stack is taken only the first time. */
  nested(held: WatchedLock, wanted: WatchedLock): Inversion | undefined {
    const same = held.lockClass === wanted.lockClass;
    const from = same ? `${held.lockClass} (${held.name})` : held.lockClass;
    const to = same ? `${wanted.lockClass} (${wanted.name})` : wanted.lockClass;
    const edges = this.#edges.get(from) ?? new Map<string, LockEdge>();
    this.#edges.set(from, edges);
    if (from === to || edges.has(to)) return undefined;
    const edge: LockEdge = { held: from, wanted: to, stack: stackOfCaller(), schedule: undefined };
    const back = this.#path(to, from, new Set());
    edges.set(to, edge);
    this.#fresh.push(edge);
    return back === undefined ? undefined : { edge, back };
  }

  #path(from: string, to: string, seen: Set<string>): LockEdge[] | undefined {
    seen.add(from);
    for (const edge of this.#edges.get(from)?.values() ?? []) {
      if (edge.wanted === to) return [edge];
      if (seen.has(edge.wanted)) continue;
      const rest = this.#path(edge.wanted, to, seen);
      if (rest !== undefined) return [edge, ...rest];
    }
    return undefined;
  }
}

/** Frames of the explorer itself say nothing to the reader. */
function stackOfCaller(): string {
  const lines = stackHere(24).split("\n");
  const useful = lines.filter(
    (line) => !/[\\/]explore[\\/](?:execution|watched|lock-order|stacks|task)\./.test(line),
  );
  return useful.slice(0, 12).join("\n");
}
