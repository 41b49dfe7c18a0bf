import { type Scheduler, waitFor } from "@peerbar/core";
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

/** A send that waits for a receive. */
interface Sender {
  /** Whose send it is; each has one at a time. */
  readonly from: object;
  /** Undefined where it was woken without one. */
  receive: Receive | undefined;
  readonly wake: () => void;
}

/** Posted receives in order, and the sends that wait for one. */
export class ReceiveQueue {
  readonly #name: string;
  readonly #scheduler: Scheduler;
  #posted: Receive[] = [];
  #waiting: Sender[] = [];

  /** @param name - the queue pair's, as waits show it. */
  constructor(name: string, scheduler: Scheduler) {
    this.#name = name;
    this.#scheduler = scheduler;
  }

  get empty(): boolean {
    return this.#posted.length === 0;
  }

  /** Resolves once a send has used it, or it was flushed. */
  async post(local: LocalData): Promise<ReceiveOutcome> {
    let outcome: ReceiveOutcome | undefined;
    const point = { kind: "drain", on: `${this.#name} completion` } as const;
    await waitFor(this.#scheduler, point, undefined, "rdma.receive", (wake) => {
      const done = (ended: ReceiveOutcome): void => {
        outcome ??= ended;
        wake();
      };
      this.#offer({ local, done }, "last");
      return noop;
    });
    if (outcome === undefined) throw new Error("rdma: a receive woken without an outcome");
    return outcome;
  }

  /**
   * The oldest receive, waiting for one where there is none; undefined where the queue was flushed meanwhile, or `from` has withdrawn.
   *
   * @param from - whose send it is.
   */
  async take(from: object): Promise<Receive | undefined> {
    const receive = this.#posted.shift();
    if (receive !== undefined) return receive;
    let sender: Sender | undefined;
    const point = { kind: "drain", on: `${this.#name} receive` } as const;
    await waitFor(this.#scheduler, point, undefined, "rdma.send", (wake) => {
      sender = { from, receive: undefined, wake };
      this.#waiting.push(sender);
      return noop;
    });
    return sender?.receive;
  }

  /** Ends the wait of that sender, who gets no receive. */
  withdraw(from: object): void {
    const sender = this.#waiting.find((one) => one.from === from);
    if (sender === undefined) return;
    this.#waiting = this.#waiting.filter((one) => one !== sender);
    sender.wake();
  }

  /** For a send that ended before it used its receive. */
  giveBack(receive: Receive): void {
    this.#offer(receive, "first");
  }

  /** Ends every posted receive with a flush error, and every wait for one. */
  flush(): void {
    const posted = this.#posted;
    const waiting = this.#waiting;
    this.#posted = [];
    this.#waiting = [];
    for (const receive of posted) receive.done({ status: "flush-error", bytes: 0 });
    for (const sender of waiting) sender.wake();
  }

  #offer(receive: Receive, place: "first" | "last"): void {
    const sender = this.#waiting.shift();
    if (sender !== undefined) {
      sender.receive = receive;
      sender.wake();
    } else if (place === "last") this.#posted.push(receive);
    else this.#posted.unshift(receive);
  }
}

function noop(): void {
  // Nobody can give such a wait up: there is nothing to unsubscribe.
}
