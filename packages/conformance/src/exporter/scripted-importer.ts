import type {
  Attachment,
  DmaBuf,
  DmaDevice,
  DmaDirection,
  Held,
  ImporterOps,
  ScatterTable,
} from "@peerbar/core";

/**
 * The importer that the exporter suite drives: it maps when told, records what it hears, and unmaps when invalidated unless it is
 * told to take its time.
 */
export class ScriptedImporter implements ImporterOps {
  readonly allowPeer2Peer = true;
  readonly buffer: DmaBuf;
  readonly attachment: Attachment;
  /** Calls of invalidateMappings. */
  invalidations = 0;
  /** Calls that came without the buffer's lock held. */
  unlocked = 0;
  /** What to do when invalidated. "unmap" is what the protocol asks for. */
  whenInvalidated: "unmap" | "keep" | ((held: Held) => void) = "unmap";
  /** Tables not unmapped yet. */
  readonly tables: ScatterTable[] = [];

  constructor(buffer: DmaBuf, device: DmaDevice) {
    this.buffer = buffer;
    this.attachment = buffer.attach(device, this);
  }

  invalidateMappings(_attachment: Attachment, held: Held): void {
    this.invalidations += 1;
    if (!held.held || held.reservation !== this.buffer.reservation) this.unlocked += 1;
    if (this.whenInvalidated === "unmap") this.unmapAll(held);
    else if (this.whenInvalidated !== "keep") this.whenInvalidated(held);
  }

  /** Takes the lock and maps. */
  async map(direction: DmaDirection = "bidirectional"): Promise<ScatterTable> {
    const held = await this.buffer.reservation.lock();
    try {
      return this.mapHeld(held, direction);
    } finally {
      held.release();
    }
  }

  mapHeld(held: Held, direction: DmaDirection = "bidirectional"): ScatterTable {
    const table = this.attachment.map(direction, held);
    this.tables.push(table);
    return table;
  }

  /** Takes the lock and unmaps one table, or all. */
  async unmap(table?: ScatterTable, direction: DmaDirection = "bidirectional"): Promise<void> {
    const held = await this.buffer.reservation.lock();
    try {
      if (table === undefined) {
        this.unmapAll(held);
        return;
      }
      this.attachment.unmap(table, direction, held);
      this.tables.splice(this.tables.indexOf(table), 1);
    } finally {
      held.release();
    }
  }

  unmapAll(held: Held): void {
    for (const table of [...this.tables]) {
      this.attachment.unmap(table, "bidirectional", held);
      this.tables.shift();
    }
  }

  /** Unmaps what is left and detaches. */
  async leave(): Promise<void> {
    await this.unmap();
    this.attachment.detach();
  }
}
