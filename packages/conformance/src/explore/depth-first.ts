import type { Execution } from "./execution.js";
import { notTwice } from "./failure.js";
import type { Prefixes } from "./prefixes.js";
import { CUT, type Outcome } from "./runner.js";
import { type SearchNode, shareDone } from "./search-node.js";
import type { Strategy } from "./strategy.js";
import type { Task } from "./task.js";

/** Orders one after the other, each as far as it goes like the one before: what both ways of pruning have in common. */
export abstract class DepthFirst<Node extends SearchNode> implements Strategy {
  exhausted = false;
  bounded = false;
  protected readonly reduce: boolean;
  protected readonly prefixes: Prefixes;
  /** The points of the run, from its beginning. */
  protected readonly stack: Node[] = [];
  #started = false;

  constructor(reduce: boolean, prefixes: Prefixes) {
    this.reduce = reduce;
    this.prefixes = prefixes;
  }

  get mine(): boolean {
    return this.prefixes.mine;
  }

  get progress(): number {
    return this.exhausted ? 1 : shareDone(this.stack);
  }

  next(): boolean {
    if (!this.#started) {
      this.#started = true;
      return true;
    }
    const { stack } = this;
    for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
      const pick = this.nextOf(node);
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
    const depth = execution.steps.length;
    const known = this.stack[depth];
    if (known !== undefined) {
      if (known.tasks[known.picked] !== execution.ready[known.picked]?.number) throw notTwice();
      return known.picked;
    }
    const prefix = this.prefixes.depth;
    if (prefix > 0 && depth === prefix && !this.prefixes.claim()) return CUT;
    const node = this.reach(execution, last);
    if (node === undefined) return CUT;
    this.stack.push(node);
    return node.picked;
  }

  ended({ complete, execution }: Outcome): void {
    if (complete && execution.steps.length <= this.prefixes.depth) this.prefixes.claim();
  }

  /** What to pick next at a point that was gone on from; -1 where all has been. */
  protected abstract nextOf(node: Node): number;

  /** A point no run has come to before, with its first pick; undefined where it need not be gone on from. */
  protected abstract reach(execution: Execution, last: Task | undefined): Node | undefined;
}
