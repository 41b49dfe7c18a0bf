import type { Step } from "./execution.js";

/** True where the two steps touch nothing in common, or only look at it: their order makes no difference. */
export function independent(a: readonly number[], b: readonly number[]): boolean {
  for (const one of a) {
    for (const other of b) {
      if (one >> 1 === other >> 1 && ((one | other) & 1) === 1) return false;
    }
  }
  return true;
}

/** Two steps of one run whose order could have been the other way round. */
export type OnRace = (earlier: number, later: number) => void;

/** The happens-before relation of one run: what each step depends on, by what it touched and by who made and woke its task. */
export class HappensBefore {
  #before = new Uint32Array(64);
  #words = 1;
  readonly #lastWrite = new Map<number, number>();
  readonly #reads = new Map<number, number[]>();
  readonly #direct: number[] = [];
  readonly #races: number[] = [];

  /** Whether step `a` must come before step `b`. */
  ordered(a: number, b: number): boolean {
    return (((this.#before[b * this.#words + (a >> 5)] ?? 0) >>> (a & 31)) & 1) === 1;
  }

  /** Computes the relation and reports races whose later step is `from` or after it. */
  analyse(steps: readonly Step[], from: number, onRace: OnRace): void {
    this.#words = (steps.length + 31) >> 5;
    const size = steps.length * this.#words;
    if (this.#before.length < size) this.#before = new Uint32Array(size * 2);
    else this.#before.fill(0, 0, size);
    this.#lastWrite.clear();
    this.#reads.clear();
    for (const [i, step] of steps.entries()) {
      const { madeBy, wokenBy } = step.task;
      if (madeBy >= 0) this.#follow(i, madeBy);
      if (wokenBy >= 0) this.#follow(i, wokenBy);
      this.#collect(i, step.touched);
      const races = this.#races;
      races.length = 0;
      for (const earlier of this.#direct) {
        if (i >= from && this.#isRace(earlier, i)) races.push(earlier);
      }
      for (const earlier of this.#direct) this.#follow(i, earlier);
      for (const earlier of races) onRace(earlier, i);
    }
  }

  /** Earlier steps that touched the same things last. */
  #collect(i: number, touched: readonly number[]): void {
    const direct = this.#direct;
    direct.length = 0;
    for (const entry of touched) {
      const object = entry >> 1;
      const write = this.#lastWrite.get(object);
      const reads = this.#reads.get(object);
      if (write !== undefined && !direct.includes(write)) direct.push(write);
      if ((entry & 1) === 0) {
        if (reads === undefined) this.#reads.set(object, [i]);
        else reads.push(i);
        continue;
      }
      for (const read of reads ?? []) if (!direct.includes(read)) direct.push(read);
      if (reads !== undefined) reads.length = 0;
      this.#lastWrite.set(object, i);
    }
  }

  /** Directly dependent: nothing in between forces the order. What made or woke the later step is known to `before` already. */
  #isRace(earlier: number, i: number): boolean {
    if (this.ordered(earlier, i)) return false;
    for (const other of this.#direct) {
      if (other !== earlier && this.ordered(earlier, other)) return false;
    }
    return true;
  }

  #follow(i: number, earlier: number): void {
    const before = this.#before;
    const to = i * this.#words;
    const from = earlier * this.#words;
    for (let word = 0; word < this.#words; word++) {
      before[to + word] = (before[to + word] ?? 0) | (before[from + word] ?? 0);
    }
    const at = to + (earlier >> 5);
    before[at] = (before[at] ?? 0) | (1 << (earlier & 31));
  }
}
