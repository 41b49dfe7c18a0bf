import { ConformanceFailure } from "./expect.js";

/** Turns that count as "everything that can run has run". A reset of a simulated device needs some tens. */
const SETTLED = 400;
/** Turns after which a promise counts as hanging. */
const HANGING = 100_000;

/**
 * Bounded time without a clock: a turn lets every task that is ready run once. The model waits for nothing but other tasks,
 * so what has not happened after many turns will never happen.
 */
export class Turns {
  readonly #turn: () => Promise<void>;

  /** @param turn - lets every ready task run once; a microtask where absent */
  constructor(turn: () => Promise<void> = () => Promise.resolve()) {
    this.#turn = turn;
  }

  /** Lets `count` turns pass. */
  async pass(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.#turn();
  }

  /** Lets everything run that can run. */
  settle(): Promise<void> {
    return this.pass(SETTLED);
  }

  /** True where `promise` has neither result nor error once everything ran that can run. */
  async isPending(promise: Promise<unknown>): Promise<boolean> {
    const watched = watch(promise);
    await this.settle();
    return !watched.done;
  }

  /**
   * The outcome of `promise`.
   *
   * @param what - what is waited for, for the message.
   * @throws ConformanceFailure where it never settles.
   */
  async within<T>(promise: Promise<T>, what: string): Promise<T> {
    const watched = watch(promise);
    for (let i = 0; i < HANGING && !watched.done; i++) await this.#turn();
    if (!watched.done) throw new ConformanceFailure(`${what} never finished`);
    return promise;
  }
}

function watch(promise: Promise<unknown>): { done: boolean } {
  const state = { done: false };
  const settled = (): void => {
    state.done = true;
  };
  promise.then(settled, settled);
  return state;
}
