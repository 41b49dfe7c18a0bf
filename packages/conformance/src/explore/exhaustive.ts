import { HappensBefore, independent } from "./dependence.js";
import { DepthFirst } from "./depth-first.js";
import type { Execution, Step } from "./execution.js";
import type { Outcome } from "./runner.js";
import { defaultChoice } from "./schedule.js";
import { IDLE, SearchNode, WANTED } from "./search-node.js";
import type { Task } from "./task.js";

/** A point of the run being explored. */
class Node extends SearchNode {
  /** What the step of each done task touched. */
  readonly touched: (readonly number[] | undefined)[] = [];
  /** Tasks that need not be picked: every order that begins with them was seen, with what their steps touch. */
  readonly sleep = new Map<number, readonly number[]>();
}

/**
 * Depth first over all orders. With `reduce`, orders that differ only in steps that commute run once: sleep sets, and source-set dynamic
 * partial order reduction (Abdulla, Aronis, Jonsson, Sagonas 2014): another pick is tried only where two steps of a run have raced.
 */
export class Exhaustive extends DepthFirst<Node> {
  readonly #order = new HappensBefore();
  /** Steps of the run before that are repeated. */
  #repeated = 0;

  protected nextOf(node: Node): number {
    const { sleep } = node;
    const pick = node.wanted((task) => !sleep.has(task));
    if (pick >= 0) this.#repeated = this.stack.length - 1;
    return pick;
  }

  protected reach(execution: Execution, last: Task | undefined): Node | undefined {
    const { ready, steps } = execution;
    const depth = steps.length;
    const node = this.#asleep(execution, depth);
    const pick = firstPick(node, defaultChoice(ready, last));
    if (pick < 0) return undefined;
    // Timers come and go without running, which no race shows: with one about, all is tried, and sleep alone prunes.
    const timers = ready.some(({ kind }) => kind === "time");
    if (!this.reduce || depth < this.prefixes.depth || timers) node.wantAll();
    node.pick(pick);
    return node;
  }

  override ended(outcome: Outcome): void {
    super.ended(outcome);
    if (!this.reduce) return;
    const { steps } = outcome.execution;
    this.#remember(steps, steps.length);
    this.#order.analyse(steps, this.#repeated, (earlier, later) => {
      this.#reverse(steps, earlier, later);
    });
    if (outcome.complete) this.#wantVanished(steps);
  }

  /** The point, with the tasks that need not be picked there. */
  #asleep({ ready, steps }: Execution, depth: number): Node {
    const tasks = ready.map(({ number }) => number);
    const node = new Node(tasks);
    const parent = this.stack[depth - 1];
    const step = steps[depth - 1];
    if (this.reduce && parent !== undefined && step !== undefined) {
      this.#remember(steps, depth);
      const stays = (task: number, touched: readonly number[]): void => {
        if (tasks.includes(task) && independent(touched, step.touched))
          node.sleep.set(task, touched);
      };
      for (const [task, touched] of parent.sleep) stays(task, touched);
      for (const [i, task] of parent.tasks.entries()) {
        const touched = parent.touched[i];
        if (i !== parent.picked && touched !== undefined) stays(task, touched);
      }
    }
    return node;
  }

  /** Keeps what the last step before `depth` touched: others fall asleep by it. */
  #remember(steps: readonly Step[], depth: number): void {
    const node = this.stack[depth - 1];
    const step = steps[depth - 1];
    if (node !== undefined && step !== undefined) node.touched[node.picked] ??= step.touched;
  }

  /** Sees to it that at `earlier` somebody is picked who leads to the two steps in the other order. */
  #reverse(steps: readonly Step[], earlier: number, later: number): void {
    const node = this.stack[earlier];
    if (node === undefined) return;
    let choice = -1;
    for (let k = earlier + 1; k <= later; k++) {
      if (!this.#begins(earlier, k, later)) continue;
      const task = steps[k]?.task.number ?? -1;
      const index = node.tasks.indexOf(task);
      if (index < 0) continue;
      if (node.state[index] !== IDLE || node.sleep.has(task)) return;
      if (choice < 0) choice = index;
    }
    if (choice >= 0) node.state[choice] = WANTED;
    // A timer behind another one: who opens its way there is not known, so all are tried.
    else node.wantAll();
  }

  /** Whether step `k` can come first among what does not depend on `earlier`. */
  #begins(earlier: number, k: number, later: number): boolean {
    const order = this.#order;
    if (k !== later && order.ordered(earlier, k)) return false;
    for (let j = earlier + 1; j < k; j++) {
      if (!order.ordered(earlier, j) && order.ordered(j, k)) return false;
    }
    return true;
  }

  /** What was ready and is not any more, without having run, was cancelled, or the run failed before: it could have come earlier. */
  #wantVanished(steps: readonly Step[]): void {
    for (let depth = 0; depth < steps.length; depth++) {
      const node = this.stack[depth];
      if (node === undefined) return;
      const after = this.stack[depth + 1]?.tasks;
      for (const [i, task] of node.tasks.entries()) {
        if (i === node.picked || node.state[i] !== IDLE) continue;
        if (after?.includes(task) !== true) node.state[i] = WANTED;
      }
    }
  }
}

function firstPick({ tasks, sleep }: Node, preferred: number): number {
  const task = tasks[preferred];
  if (task !== undefined && !sleep.has(task)) return preferred;
  return tasks.findIndex((other) => !sleep.has(other));
}
