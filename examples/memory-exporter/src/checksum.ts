import type { Attachment, DmaBuf, DmaDevice, ImporterOps } from "@peerbar/core";
import type { SharedBytes } from "./exporter.js";

const here: DmaDevice = { name: "this process", pciAddress: undefined, dmaMask: 2n ** 64n - 1n };

/** An importer that takes nothing but `example-bytes`: adds up a buffer, again and again, until the memory is taken back. */
export class Checksum implements ImporterOps {
  readonly allowPeer2Peer = true;
  readonly #attachment: Attachment;
  #bytes: SharedBytes | undefined;

  /** @throws DmaBufError EOPNOTSUPP, with both lists, where the exporter has no such bytes; the exporter's errno otherwise. */
  constructor(buffer: DmaBuf) {
    this.#attachment = buffer.attach(here, this);
    try {
      this.#attachment.negotiate(["example-bytes"]);
    } catch (error) {
      this.#attachment.detach();
      throw error;
    }
  }

  /** Sum of all bytes. @throws DmaBufError ENODEV while the memory is away. */
  async sum(): Promise<number> {
    const held = await this.#attachment.buffer.reservation.lock();
    try {
      this.#bytes ??= this.#attachment.open("example-bytes", held);
      const all = new Uint8Array(this.#bytes.length);
      this.#bytes.read(0, all);
      return all.reduce((sum, byte) => sum + byte, 0);
    } finally {
      held.release();
    }
  }

  /** The memory goes away: forget it. The next sum opens anew. */
  invalidateMappings(): void {
    this.#bytes = undefined;
  }

  close(): void {
    this.#attachment.detach();
  }
}
