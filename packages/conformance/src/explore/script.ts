import type { Execution } from "./execution.js";
import { ScenarioError } from "./failure.js";
import type { Chooser } from "./runner.js";
import { defaultChoice, findMove, letterOf, type Move } from "./schedule.js";
import type { Task } from "./task.js";

/** Follows decisions; the default order where there is none. */
export class Script implements Chooser {
  readonly #moves: readonly (Move | undefined)[];
  readonly #strict: boolean;
  #at = 0;

  /** @param strict - a decision that does not fit is an error; else the default takes its place. */
  constructor(moves: readonly (Move | undefined)[], strict: boolean) {
    this.#moves = moves;
    this.#strict = strict;
  }

  choose({ ready }: Execution, last: Task | undefined): number {
    if (ready.length === 1) return 0;
    const move = this.#moves[this.#at];
    this.#at += 1;
    if (move === undefined) return defaultChoice(ready, last);
    const index = findMove(ready, move);
    if (index >= 0) return index;
    if (!this.#strict) return defaultChoice(ready, last);
    const others = ready.map(({ actor }) => letterOf(actor)).join(" ");
    throw new ScenarioError(
      `the schedule is not of this scenario: decision ${this.#at} picks ${letterOf(move.actor)}, ready are ${others}`,
    );
  }

  /** @throws ScenarioError where decisions are left over: the run needed fewer. */
  assertUsed(): void {
    if (!this.#strict || this.#at >= this.#moves.length) return;
    throw new ScenarioError(
      `the schedule is not of this scenario: ${this.#moves.length} decisions, the run has ${this.#at}`,
    );
  }
}
