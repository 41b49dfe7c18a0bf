import { DepthFirst } from "./depth-first.js";
import type { Execution } from "./execution.js";
import { HashTable } from "./hash-table.js";
import type { Prefixes } from "./prefixes.js";
import { defaultChoice, preemptions } from "./schedule.js";
import { SearchNode, WANTED } from "./search-node.js";
import type { Task } from "./task.js";
import { mix } from "./trace-hash.js";

/** A point of the run, with the preemptions on the way there. */
class Node extends SearchNode {
  /** Preemptions up to here. */
  readonly spent: number;
  /** What picking each task adds. */
  readonly costs: readonly number[];

  constructor(tasks: readonly number[], spent: number, costs: readonly number[]) {
    super(tasks);
    this.spent = spent;
    this.costs = costs;
  }

  get spentAfter(): number {
    return this.spent + (this.costs[this.picked] ?? 0);
  }
}

/**
 * Depth first over all orders with at most so many preemptions. A state that was come to before, with as many preemptions left, is not gone
 * on from: states are told by what has happened, up to the order of steps that commute (Musuvathi, Qadeer: partial-order reduction for
 * context-bounded state exploration, 2007). Sleep sets would not do: an order within the bound may be equal only to one beyond it.
 */
export class Bounded extends DepthFirst<Node> {
  readonly #bound: number;
  readonly #seen = new HashTable();

  constructor(bound: number, reduce: boolean, prefixes: Prefixes) {
    super(reduce, prefixes);
    this.#bound = bound;
  }

  protected nextOf(node: Node): number {
    return node.wanted(() => true);
  }

  protected reach(execution: Execution, last: Task | undefined): Node | undefined {
    const { ready, steps } = execution;
    const depth = steps.length;
    const spent = this.stack[depth - 1]?.spentAfter ?? 0;
    if (this.reduce && depth > this.prefixes.depth && this.#seenBefore(execution, last, spent))
      return undefined;
    const costs = ready.map((_, i) => preemptions(ready, i, last));
    const node = new Node(
      ready.map(({ number }) => number),
      spent,
      costs,
    );
    for (const [i, cost] of costs.entries()) {
      if (spent + cost <= this.#bound) node.state[i] = WANTED;
      else this.bounded = true;
    }
    node.pick(defaultChoice(ready, last));
    return node;
  }

  /** What comes after depends on what has happened, on who ran last, and on the preemptions left. */
  #seenBefore({ trace }: Execution, last: Task | undefined, spent: number): boolean {
    const left = Math.min(254, this.#bound - spent);
    const who = last?.actor ?? -1;
    const low = mix(trace.low, who);
    const high = mix(trace.high, ~who);
    if (this.#seen.get(low, high) >= left) return true;
    this.#seen.set(low, high, left);
    return false;
  }
}
