const CHILDREN = 0x1_0000;

/**
 * Numbers for things that come and go in every run: the third child of the second child of actor 1 has the same number in all runs, whatever
 * else ran before it. That is what lets two orders of the same steps be seen as the same.
 */
export class Names {
  readonly #numbers = new Map<number, number>();
  /** 1 is the parent of what all runs share by name. */
  #next = 2;

  /** The child of a thing (0 is the root) at that place among its children. */
  child(parent: number, place: number): number {
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
