import type { DmaBuf, ImporterOps } from "@peerbar/core";
import type { Place } from "./parts.js";

const importer: ImporterOps = { allowPeer2Peer: true, invalidateMappings: () => undefined };

/**
 * What a buffer holds, as the NIC reads it through an attachment of its own, for an exporter that does not say.
 *
 * @throws Error where the NIC cannot read it, as when the importer under test has moved it into an address space of its own.
 */
export async function readBack(
  { nic }: Place,
  buffer: DmaBuf,
  length: number,
): Promise<Uint8Array> {
  const attachment = buffer.attach(nic, importer);
  try {
    attachment.negotiate(["sgt"]);
    const held = await buffer.reservation.lock();
    try {
      const table = attachment.map("bidirectional", held);
      await buffer.reservation.wait("kernel");
      const bytes = new Uint8Array(Number(buffer.size));
      const done = await nic.engine.readList(table, bytes);
      attachment.unmap(table, "bidirectional", held);
      if (done.status === "ok") return bytes.subarray(0, length);
      throw new Error(
        `the NIC cannot read the buffer back (${done.status}): give the exporter a peek(length)`,
      );
    } finally {
      held.release();
    }
  } finally {
    attachment.detach();
  }
}
