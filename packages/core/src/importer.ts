import type { Attachment } from "./attachment.js";
import type { Held } from "./reservation.js";

/** What an importer that takes part in moves implements (`struct dma_buf_attach_ops`). */
export interface ImporterOps {
  /** The device can reach memory without struct pages, such as a peer's BAR (dma-buf R10). */
  readonly allowPeer2Peer: boolean;
  /**
   * The mapping is about to be wrong. Runs with the reservation held; must not wait, lock, attach, detach or drop the last reference
   * (dma-buf R17). May be called often, and on attachments that are not mapped (dma-buf R28). Absent: the importer is not revocable (dma-buf R12).
   */
  invalidateMappings?(attachment: Attachment, held: Held): void;
  /**
   * Beyond Linux, where an importer is left to find out: the exporter has lifted a revoke, and mapping works from now on. Under the rules of
   * {@link invalidateMappings}, with the reservation held.
   */
  mappingsRestored?(attachment: Attachment, held: Held): void;
}
