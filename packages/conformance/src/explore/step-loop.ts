/** A macrotask of the host: when it runs, no promise job is left. Node's `setImmediate`; browsers have no such, see {@link StepLoop}. */
type Immediate = (callback: () => void) => unknown;

/** Immediates asked for at once: entering the event loop costs ten times what one of them does. */
const BATCH = 256;

/**
 * Runs a function again and again, each time after every promise job of the time before has run. That is how a step's end is known: not by
 * counting turns of the job queue, but by its being empty.
 */
export class StepLoop {
  #tick: (() => boolean) | undefined;
  #left = 0;
  #outside: (() => void) | undefined;
  #over: (() => void) | undefined;
  readonly #next: Immediate;

  constructor() {
    this.#next = hostImmediate();
  }

  /**
   * Calls `tick` once a turn until it returns false. `outside` is called before the host may do other work: timers, input. Only one at a time.
   */
  run(tick: () => boolean, outside: () => void): Promise<void> {
    return new Promise((resolve) => {
      this.#tick = tick;
      this.#outside = outside;
      this.#over = resolve;
      if (this.#left === 0) this.#ask();
    });
  }

  #ask(): void {
    this.#left = BATCH;
    for (let i = 0; i < BATCH; i++) this.#next(this.#turn);
  }

  #end(): void {
    const over = this.#over;
    this.#tick = undefined;
    this.#outside = undefined;
    this.#over = undefined;
    over?.();
  }

  readonly #turn = (): void => {
    this.#left -= 1;
    if (this.#left > 0) {
      if (this.#tick?.() === false) this.#end();
      return;
    }
    if (this.#tick === undefined) return;
    // The last of a batch only closes the step before: what runs until the next batch is not the model's doing.
    this.#outside?.();
    this.#ask();
  };
}

function hostImmediate(): Immediate {
  const host = globalThis as unknown as {
    setImmediate?: Immediate;
    MessageChannel?: new () => {
      readonly port1: { onmessage: (() => void) | null };
      readonly port2: { postMessage(message: null): void };
    };
  };
  if (host.setImmediate !== undefined) return host.setImmediate.bind(globalThis);
  if (host.MessageChannel === undefined) throw new TypeError("explore: the host has no macrotasks");
  const { port1, port2 } = new host.MessageChannel();
  const asked: (() => void)[] = [];
  const next = (): void => asked.shift()?.();
  port1.onmessage = next;
  return (callback) => {
    asked.push(callback);
    port2.postMessage(null);
  };
}
