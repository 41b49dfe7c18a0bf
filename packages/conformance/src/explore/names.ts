/** Places of a parent's children that are counted in one key; what comes after goes to the parent's child at place 0. */
const CHILDREN = 0x1_0000;

/** Parent of what all runs share by name. */
export const SHARED = 1;
/** Parent of the actors. */
export const ACTORS = 2;

/**
 * Numbers for things that come and go in every run: the third child of the second child of actor 1 has the same number in all runs, whatever
 * else ran before it. That is what lets two orders of the same steps be seen as the same. The root is 0.
 */
export class Names {
  readonly #numbers = new Map<number, number>();
  #next = ACTORS + 1;

  /** The child of a thing at that place among its children, from 1. */
  child(parent: number, place: number): number {
    if (place >= CHILDREN) return this.child(this.child(parent, 0), place - CHILDREN + 1);
    const key = parent * CHILDREN + place;
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#next++;
      this.#numbers.set(key, number);
    }
    return number;
  }

  /** Numbers given so far. */
  get size(): number {
    return this.#next;
  }
}
