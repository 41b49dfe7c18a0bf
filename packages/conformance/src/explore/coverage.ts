import type { Execution, Step } from "./execution.js";
import { Random } from "./random.js";
import type { Outcome } from "./runner.js";
import { findMove, type Move, moveOf } from "./schedule.js";
import type { Strategy } from "./strategy.js";
import { mix } from "./trace-hash.js";

/** Runs kept at most: the newest teach most. */
const CORPUS = 512;
/** Pairs of steps told apart at most. */
const EDGES = 1 << 16;

/**
 * Random orders that learn. An edge is one kind of step followed by another of another actor on the same object; a run with a new one is kept,
 * and later runs repeat the beginning of a kept one before they go their own way.
 */
export class CoverageGuided implements Strategy {
  readonly exhausted = false;
  readonly bounded = false;
  readonly mine = true;
  readonly progress = undefined;
  readonly #random: Random;
  readonly #edges = new Uint8Array(EDGES);
  readonly #corpus: (readonly Move[])[] = [];
  readonly #lastUse = new Map<number, Step>();
  #covered = 0;
  #follow: readonly Move[] = [];
  #at = 0;
  #until = 0;
  #moves: Move[] = [];

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  /** Edges seen. */
  get covered(): number {
    return this.#covered;
  }

  next(): boolean {
    const random = this.#random;
    const corpus = this.#corpus;
    this.#moves = [];
    this.#at = 0;
    // One in four starts afresh, so that no part of the space is left to luck long ago.
    const fresh = corpus.length === 0 || random.below(4) === 0;
    this.#follow = fresh ? [] : (corpus[random.below(corpus.length)] ?? []);
    this.#until = random.below(this.#follow.length + 1);
    return true;
  }

  choose({ ready }: Execution): number {
    if (ready.length === 1) return 0;
    const move = this.#at < this.#until ? this.#follow[this.#at] : undefined;
    this.#at += 1;
    const known = move === undefined ? -1 : findMove(ready, move);
    const index = known >= 0 ? known : this.#random.below(ready.length);
    this.#moves.push(moveOf(ready, index));
    return index;
  }

  ended({ execution }: Outcome): void {
    if (!this.#cover(execution.steps)) return;
    if (this.#corpus.length < CORPUS) this.#corpus.push(this.#moves);
    else this.#corpus[this.#random.below(CORPUS)] = this.#moves;
  }

  /** True where the run showed an edge for the first time. */
  #cover(steps: readonly Step[]): boolean {
    const lastUse = this.#lastUse;
    lastUse.clear();
    let found = false;
    for (const step of steps) {
      for (const entry of step.touched) {
        const before = lastUse.get(entry >> 1);
        lastUse.set(entry >> 1, step);
        if (before === undefined || before.task.actor === step.task.actor) continue;
        const edge = mix(mix(entry, before.task.number), step.task.number) & (EDGES - 1);
        if (this.#edges[edge] === 1) continue;
        this.#edges[edge] = 1;
        this.#covered += 1;
        found = true;
      }
    }
    return found;
  }
}
