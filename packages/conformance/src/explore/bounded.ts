import type { Execution } from "./execution.js";
import { notTwice } from "./failure.js";
import { HashTable } from "./hash-table.js";
import type { Prefixes } from "./prefixes.js";
import { CUT, type Outcome } from "./runner.js";
import { defaultChoice, preemptions } from "./schedule.js";
import { SearchNode, shareDone, WANTED } from "./search-node.js";
import type { Strategy } from "./strategy.js";
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
export class Bounded implements Strategy {
  exhausted = false;
  bounded = false;
  readonly #bound: number;
  readonly #reduce: boolean;
  readonly #prefixes: Prefixes;
  readonly #stack: Node[] = [];
  readonly #seen = new HashTable();
  #started = false;

  constructor(bound: number, reduce: boolean, prefixes: Prefixes) {
    this.#bound = bound;
    this.#reduce = reduce;
    this.#prefixes = prefixes;
  }

  get mine(): boolean {
    return this.#prefixes.mine;
  }

  get progress(): number {
    return this.exhausted ? 1 : shareDone(this.#stack);
  }

  next(): boolean {
    if (!this.#started) {
      this.#started = true;
      return true;
    }
    const stack = this.#stack;
    for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
      const pick = node.wanted(() => true);
      if (pick >= 0) {
        node.pick(pick);
        return true;
      }
      stack.pop();
    }
    this.exhausted = true;
    return false;
  }

  choose(execution: Execution, last: Task | undefined): number {
    const { ready, steps } = execution;
    const depth = steps.length;
    const known = this.#stack[depth];
    if (known !== undefined) {
      if (known.tasks[known.picked] !== ready[known.picked]?.number) throw notTwice();
      return known.picked;
    }
    const spent = this.#stack[depth - 1]?.spentAfter ?? 0;
    const prefix = this.#prefixes.depth;
    if (prefix > 0 && depth === prefix && !this.#prefixes.claim()) return CUT;
    if (depth > prefix && this.#reduce && this.#seenBefore(execution, last, spent)) return CUT;
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
    this.#stack.push(node);
    return node.picked;
  }

  ended({ complete, execution }: Outcome): void {
    if (complete && execution.steps.length <= this.#prefixes.depth) this.#prefixes.claim();
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
