import type { WcStatusName } from "./completion.js";
import type { LocalData } from "./local-data.js";

/** How a receive ended. */
export interface ReceiveOutcome {
  readonly status: WcStatusName;
  readonly bytes: number;
  readonly detail?: string | undefined;
}

/** One posted receive. The first call of `done` counts. */
export interface Receive {
  readonly local: LocalData;
  done(outcome: ReceiveOutcome): void;
}

/** Posted receives in order, and the sends that wait for one. */
export class ReceiveQueue {
  #posted: Receive[] = [];
  #waiting: ((receive: Receive | undefined) => void)[] = [];

  get empty(): boolean {
    return this.#posted.length === 0;
  }

  /** Resolves once a send has used it, or it was flushed. */
  post(local: LocalData): Promise<ReceiveOutcome> {
    return new Promise((done) => {
      const receive: Receive = { local, done };
      const sender = this.#waiting.shift();
      if (sender === undefined) this.#posted.push(receive);
      else sender(receive);
    });
  }

  /** The oldest receive, waiting for one where there is none; undefined where the queue was flushed meanwhile. */
  take(): Promise<Receive | undefined> {
    const receive = this.#posted.shift();
    if (receive !== undefined) return Promise.resolve(receive);
    return new Promise((done) => {
      this.#waiting.push(done);
    });
  }

  /** For a send that ended before it used its receive. */
  giveBack(receive: Receive): void {
    const sender = this.#waiting.shift();
    if (sender === undefined) this.#posted.unshift(receive);
    else sender(receive);
  }

  /** Ends every posted receive with a flush error, and every wait for one. */
  flush(): void {
    const posted = this.#posted;
    const waiting = this.#waiting;
    this.#posted = [];
    this.#waiting = [];
    for (const receive of posted) receive.done({ status: "flush-error", bytes: 0 });
    for (const sender of waiting) sender(undefined);
  }
}
