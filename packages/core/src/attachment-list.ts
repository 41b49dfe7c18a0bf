import type { Attachment } from "./attachment.js";
import type { ImporterOps } from "./importer.js";
import type { Held } from "./reservation.js";

/** Gaps are closed when there are more of them than attachments, and at least so many entries. */
const SMALL = 32;

/**
 * @internal The attachments of one buffer in the order they were made, each with its importer beside it: to tell all of them, two dense
 * arrays are read, and no attachment is touched. A hundred thousand of those are in no cache.
 */
export class AttachmentList implements Iterable<Attachment> {
  #attachments: (Attachment | undefined)[] = [];
  #importers: (ImporterOps | undefined)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(attachment: Attachment): void {
    attachment.place = this.#attachments.length;
    this.#attachments.push(attachment);
    this.#importers.push(attachment.importer);
    this.#size += 1;
  }

  delete(attachment: Attachment): void {
    const list = this.#attachments;
    const { place } = attachment;
    if (list[place] !== attachment) return;
    this.#size -= 1;
    list[place] = undefined;
    this.#importers[place] = undefined;
    while (list.length > 0 && list[list.length - 1] === undefined) {
      list.pop();
      this.#importers.pop();
    }
    if (list.length > SMALL && this.#size * 2 < list.length) this.#closeGaps();
  }

  /** Runs the invalidate callback of all who have one. @throws what the first of them threw, after all have run. */
  tellAll(held: Held): void {
    const list = this.#attachments;
    const importers = this.#importers;
    let failed = false;
    let first: unknown;
    for (let place = 0; place < list.length; place++) {
      const attachment = list[place];
      if (attachment === undefined) continue;
      try {
        importers[place]?.invalidateMappings?.(attachment, held);
      } catch (error) {
        first = failed ? first : error;
        failed = true;
      }
    }
    if (failed) throw first;
  }

  /** As {@link tellAll}, for those who want to hear that a revoke is over: few do. */
  tellRestored(held: Held): void {
    const failed: unknown[] = [];
    for (const attachment of this) {
      try {
        attachment.importer?.mappingsRestored?.(attachment, held);
      } catch (error) {
        failed.push(error);
      }
    }
    if (failed.length > 0) throw failed[0];
  }

  /** Those attached when their turn comes. */
  *[Symbol.iterator](): Generator<Attachment, void> {
    // Gaps are closed in arrays of their own, so that this one's places stay.
    const list = this.#attachments;
    for (let place = 0; place < list.length; place++) {
      const attachment = list[place];
      if (attachment?.attached === true) yield attachment;
    }
  }

  #closeGaps(): void {
    const kept = this.#attachments.filter((attachment) => attachment !== undefined);
    for (const [place, attachment] of kept.entries()) attachment.place = place;
    this.#attachments = kept;
    this.#importers = kept.map(({ importer }) => importer);
  }
}
