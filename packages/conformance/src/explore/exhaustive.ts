import { HappensBefore, independent } from "./dependence.js";
import type { Execution, Step } from "./execution.js";
import { ScenarioError } from "./failure.js";
import { CUT, type Outcome } from "./runner.js";
import { defaultChoice } from "./schedule.js";
import type { Strategy } from "./strategy.js";
import type { Task } from "./task.js";

/** What has become of one task at a node. */
const IDLE = 0;
const WANTED = 1;
const DONE = 2;

/** A point of the run being explored. */
interface Node {
  /** Ready tasks. */
  readonly tasks: readonly number[];
  readonly state: (typeof IDLE | typeof WANTED | typeof DONE)[];
  /** What the step of each done task touched. */
  readonly touched: (readonly number[] | undefined)[];
  /** Tasks that need not be picked: every order that begins with them was seen, with what their steps touch. */
  readonly sleep: Map<number, readonly number[]>;
  picked: number;
}

/**
 * Depth first over all orders. With `reduce`, orders that differ only in steps that commute run once: sleep sets, and source-set dynamic
 * partial order reduction (Abdulla, Aronis, Jonsson, Sagonas 2014): another pick is tried only where two steps of a run have raced.
 */
export class Exhaustive implements Strategy {
  exhausted = false;
  readonly #reduce: boolean;
  readonly #stack: Node[] = [];
  readonly #order = new HappensBefore();
  /** Steps of the run before that are repeated. */
  #repeated = 0;
  #started = false;

  constructor(reduce: boolean) {
    this.#reduce = reduce;
  }

  next(): boolean {
    if (!this.#started) {
      this.#started = true;
      return true;
    }
    const stack = this.#stack;
    for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
      const pick = nextPick(node);
      if (pick >= 0) {
        node.picked = pick;
        node.state[pick] = DONE;
        this.#repeated = stack.length - 1;
        return true;
      }
      stack.pop();
    }
    this.exhausted = true;
    return false;
  }

  choose(execution: Execution, last: Task | undefined): number {
    const depth = execution.steps.length;
    const known = this.#stack[depth];
    if (known !== undefined) {
      if (known.tasks[known.picked] !== execution.ready[known.picked]?.number) {
        throw new ScenarioError(
          "the scenario does not do the same thing twice: something other than the order of steps decides what it does",
        );
      }
      return known.picked;
    }
    const node = this.#reach(execution, depth);
    const pick = firstPick(node, defaultChoice(execution.ready, last));
    if (pick < 0) return CUT;
    node.picked = pick;
    if (this.#reduce) node.state[pick] = DONE;
    else node.state.fill(WANTED);
    node.state[pick] = DONE;
    this.#stack.push(node);
    return pick;
  }

  ended({ execution: { steps, ready }, complete }: Outcome): void {
    if (!this.#reduce) return;
    this.#remember(steps, steps.length);
    this.#order.analyse(steps, this.#repeated, (earlier, later) => {
      this.#reverse(steps, earlier, later);
    });
    if (complete) this.#wantVanished(steps, ready);
  }

  /** A point no run has come to before. */
  #reach({ ready, steps }: Execution, depth: number): Node {
    const tasks = ready.map(({ number }) => number);
    const sleep = new Map<number, readonly number[]>();
    const parent = this.#stack[depth - 1];
    const step = steps[depth - 1];
    if (this.#reduce && parent !== undefined && step !== undefined) {
      this.#remember(steps, depth);
      const stays = (task: number, touched: readonly number[]): void => {
        if (tasks.includes(task) && independent(touched, step.touched)) sleep.set(task, touched);
      };
      for (const [task, touched] of parent.sleep) stays(task, touched);
      for (const [i, task] of parent.tasks.entries()) {
        const touched = parent.touched[i];
        if (i !== parent.picked && touched !== undefined) stays(task, touched);
      }
    }
    return { tasks, state: tasks.map(() => IDLE), touched: [], sleep, picked: 0 };
  }

  /** Keeps what the last step before `depth` touched: others fall asleep by it. */
  #remember(steps: readonly Step[], depth: number): void {
    const node = this.#stack[depth - 1];
    const step = steps[depth - 1];
    if (node !== undefined && step !== undefined) node.touched[node.picked] ??= step.touched;
  }

  /** Sees to it that at `earlier` somebody is picked who leads to the two steps in the other order. */
  #reverse(steps: readonly Step[], earlier: number, later: number): void {
    const node = this.#stack[earlier];
    if (node === undefined) return;
    let choice = -1;
    for (let k = earlier + 1; k <= later; k++) {
      if (!this.#begins(earlier, k, later)) continue;
      const task = steps[k]?.task.number ?? -1;
      const index = node.tasks.indexOf(task);
      if (node.state[index] !== IDLE || node.sleep.has(task)) return;
      if (choice < 0) choice = index;
    }
    if (choice >= 0) node.state[choice] = WANTED;
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

  /** What was ready and is not any more, without having run, was cancelled: it could have come before that. */
  #wantVanished(steps: readonly Step[], readyAtEnd: readonly Task[]): void {
    for (let depth = 0; depth < steps.length; depth++) {
      const node = this.#stack[depth];
      if (node === undefined) return;
      const after = this.#stack[depth + 1]?.tasks;
      for (const [i, task] of node.tasks.entries()) {
        if (i === node.picked || node.state[i] !== IDLE) continue;
        const stays = after?.includes(task) ?? false;
        if (!stays && (after !== undefined || readyAtEnd.length > 0)) node.state[i] = WANTED;
      }
    }
  }
}

function nextPick({ tasks, state, sleep }: Node): number {
  for (const [i, task] of tasks.entries()) {
    if (state[i] === WANTED && !sleep.has(task)) return i;
  }
  return -1;
}

function firstPick({ tasks, sleep }: Node, preferred: number): number {
  const task = tasks[preferred];
  if (task !== undefined && !sleep.has(task)) return preferred;
  return tasks.findIndex((other) => !sleep.has(other));
}
