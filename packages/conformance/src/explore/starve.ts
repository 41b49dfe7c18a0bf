import type { Execution } from "./execution.js";
import type { Chooser, Outcome } from "./runner.js";
import { defaultChoice } from "./schedule.js";
import type { Task } from "./task.js";

/**
 * Goes the first half of a run again and from there lets its busiest actor run whenever it can. One that polls for what another does then
 * never ends: a depth-first search comes to that order last, after all in which it polls once more.
 */
export class Starve implements Chooser {
  readonly #steps: Outcome["execution"]["steps"];
  readonly #half: number;
  readonly #busiest: number;

  constructor({ execution: { steps } }: Outcome) {
    const counts = new Map<number, number>();
    for (const { task } of steps) counts.set(task.actor, (counts.get(task.actor) ?? 0) + 1);
    const [busiest] = [...counts].reduce((most, one) => (one[1] > most[1] ? one : most), [-1, 0]);
    this.#steps = steps;
    this.#half = steps.length >> 1;
    this.#busiest = busiest;
  }

  choose({ ready, steps }: Execution, last: Task | undefined): number {
    const before = steps.length < this.#half ? this.#steps[steps.length]?.task : undefined;
    const wanted = ready.findIndex((task) =>
      before === undefined ? task.actor === this.#busiest : task.number === before.number,
    );
    return wanted >= 0 ? wanted : defaultChoice(ready, last);
  }
}
