import { dispose } from "./dispose.js";
import type { DmaBuf } from "./dma-buf.js";
import { DmaBufError } from "./error.js";

/** One counted reference. Putting twice is harmless. */
export interface DmaBufReference extends Disposable {
  readonly buffer: DmaBuf;
  /**
   * Gives the reference back.
   *
   * @throws ProtocolViolation where it is the last one and attachments or kernel views are left (dma-buf R6); still held then.
   */
  put(): void;
  /** Passes the reference on: the result counts, this one is spent and its `put` does nothing any more. */
  move(): DmaBufReference;
}

/** @internal */
export class CountedReference implements DmaBufReference {
  readonly buffer: DmaBuf;
  readonly #drop: () => void;
  #counts = true;

  /** `drop` undoes the count that the caller has taken already. */
  constructor(buffer: DmaBuf, drop: () => void) {
    this.buffer = buffer;
    this.#drop = drop;
  }

  put(): void {
    this.buffer.reservation.touch(true);
    if (!this.#counts) return;
    this.#drop();
    this.#counts = false;
  }

  move(): DmaBufReference {
    this.buffer.reservation.touch(true);
    if (!this.#counts) {
      throw new DmaBufError(
        "EBADF",
        "dmabuf.move",
        `this reference to ${this.buffer.label} is spent`,
      );
    }
    this.#counts = false;
    return new CountedReference(this.buffer, this.#drop);
  }

  [dispose](): void {
    this.put();
  }
}
