import type { Step } from "./execution.js";

/**
 * A number for what has happened so far, in which the order of steps that commute does not show: two runs that have come the same way, up to
 * that, have the same one. Two lanes of 32 bits; each step's part is made of its task, and of the steps it depends on.
 */
export class TraceHash {
  low = 0;
  high = 0;
  readonly #objects: ObjectTable;
  readonly #lows: number[] = [];
  readonly #highs: number[] = [];

  constructor(objects: ObjectTable) {
    this.#objects = objects;
    objects.forget();
  }

  /** Steps taken in so far. */
  get length(): number {
    return this.#lows.length;
  }

  /** Takes in the next step, which is over. */
  add({ task, touched }: Step): void {
    const objects = this.#objects;
    let low = mix(0x2545f491, task.number);
    let high = mix(0x7f4a7c15, task.number);
    low = mix(low, this.#lows[task.madeBy] ?? 0);
    high = mix(high, this.#highs[task.madeBy] ?? 0);
    low = mix(low, this.#lows[task.wokenBy] ?? 1);
    high = mix(high, this.#highs[task.wokenBy] ?? 1);
    let sumLow = 0;
    let sumHigh = 0;
    for (const entry of touched) {
      const object = entry >> 1;
      objects.see(object);
      sumLow += mix(
        mix(entry, objects.get(object, WRITE)),
        (entry & 1) * objects.get(object, READS),
      );
      sumHigh += mix(
        mix(~entry, objects.get(object, WRITE + 1)),
        (entry & 1) * objects.get(object, READS + 1),
      );
    }
    low = mix(low, sumLow);
    high = mix(high, sumHigh);
    for (const entry of touched) {
      if ((entry & 1) === 1) objects.wrote(entry >> 1, low, high);
      else objects.read(entry >> 1, low, high);
    }
    this.#lows.push(low);
    this.#highs.push(high);
    this.low = (this.low + low) | 0;
    this.high = (this.high + high) | 0;
  }
}

/** Fields of an object: the last write, and the sum of the reads since. */
const WRITE = 0;
const READS = 2;
const FIELDS = 5;
const EPOCH = 4;

/** What the objects of the run at hand have seen. Kept from run to run, so that a run allocates nothing. */
export class ObjectTable {
  #fields = new Int32Array(256 * FIELDS);
  #epoch = 0;

  /** A new run begins. */
  forget(): void {
    this.#epoch += 1;
  }

  see(object: number): void {
    const at = object * FIELDS;
    if (at >= this.#fields.length) {
      const larger = new Int32Array(at * 2);
      larger.set(this.#fields);
      this.#fields = larger;
    }
    if (this.#fields[at + EPOCH] === this.#epoch) return;
    this.#fields.fill(0, at, at + EPOCH);
    this.#fields[at + EPOCH] = this.#epoch;
  }

  get(object: number, field: number): number {
    return this.#fields[object * FIELDS + field] ?? 0;
  }

  wrote(object: number, low: number, high: number): void {
    const at = object * FIELDS;
    this.#fields[at + WRITE] = low;
    this.#fields[at + WRITE + 1] = high;
    this.#fields[at + READS] = 0;
    this.#fields[at + READS + 1] = 0;
  }

  /** Reads in any order add up to the same. */
  read(object: number, low: number, high: number): void {
    const at = object * FIELDS + READS;
    this.#fields[at] = this.get(object, READS) + low;
    this.#fields[at + 1] = this.get(object, READS + 1) + high;
  }
}

/** One lane, one more value. */
export function mix(hash: number, value: number): number {
  let mixed = Math.imul(hash ^ value, 0x9e3779b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b);
  return mixed ^ (mixed >>> 13);
}
