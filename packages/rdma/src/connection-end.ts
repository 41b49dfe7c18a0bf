import type { QueuePair } from "./queue-pair.js";

/**
 * One end of a connection: what a queue pair is from `connect` to its reset. Requests belong to the one they were posted on; those that are
 * left over when it ends are flushed, and nothing of them reaches the next.
 */
export class End {
  readonly peer: QueuePair;
  /** The same object at both ends. */
  readonly connection: object;
  /** The send queue: the last request's end, and how many have not completed. */
  tail: Promise<unknown> = Promise.resolve();
  queued = 0;

  constructor(peer: QueuePair, connection: object) {
    this.peer = peer;
    this.connection = connection;
  }
}
