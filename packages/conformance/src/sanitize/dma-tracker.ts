import {
  type Attachment,
  type DmaAddr,
  type DmaBuf,
  type DmaEngine,
  type DmaMapper,
  hex,
  PAGE_BYTES,
  type ScatterTable,
  toPfn,
} from "@peerbar/core";
import { subjectOf } from "./buffer.js";
import type { Sanitizer } from "./sanitizer.js";

interface Track {
  readonly attachment: Attachment;
  readonly table: ScatterTable;
  live: boolean;
  /** The exporter told importers to let go while it was mapped. */
  invalidated: boolean;
}

/** Mappings that ended and are remembered, in all: enough to catch the latest. */
const REMEMBERED = 256;

/** @internal Which DMA addresses of which device belong to live mappings, and which to dead ones. */
export class DmaTracker {
  #tracks: Track[] = [];
  /** Tables whose unmap is under way: their addresses go with them. */
  readonly #ending = new Set<ScatterTable>();

  mapped(attachment: Attachment, table: ScatterTable): void {
    this.#tracks.push({ attachment, table, live: true, invalidated: false });
    if (this.#tracks.length > REMEMBERED) {
      const oldest = this.#tracks.findIndex((track) => !track.live);
      if (oldest >= 0) this.#tracks.splice(oldest, 1);
    }
  }

  /** Runs the unmap of a table. */
  ending(table: ScatterTable, unmap: () => void): void {
    this.#ending.add(table);
    try {
      unmap();
    } finally {
      this.#ending.delete(table);
    }
    for (const track of this.#tracks) if (track.table === table) track.live = false;
  }

  /** Name of an attachment with a live mapping in that range, other than one that is being unmapped. */
  userOf(dma: DmaMapper, address: bigint, length: bigint): string | undefined {
    const first = toPfn(address);
    const end = toPfn(address + length + PAGE_BYTES - 1n);
    const found = this.#tracks.find(({ attachment, table, live }) => {
      if (!live || table.space !== "iova" || this.#ending.has(table)) return false;
      return attachment.device.dma === dma && covers(table, first, end);
    });
    return found && subjectOf(found.attachment);
  }

  invalidated(buffer: DmaBuf): void {
    for (const track of this.#tracks) {
      if (track.live && track.attachment.buffer === buffer) track.invalidated = true;
    }
  }

  /** The engine of a device, watched. */
  engine(engine: DmaEngine, device: string, sanitizer: Sanitizer): DmaEngine {
    const look = (address: DmaAddr, what: string): void => {
      const dead = this.#deadAt(device, address);
      if (dead === undefined) return;
      const subject = subjectOf(dead.attachment);
      sanitizer.note(subject, `${what} at ${hex(address)}`);
      sanitizer.report(
        dead.invalidated ? "dma-after-revoke" : "dma-after-unmap",
        subject,
        `${device} ${what}s at ${hex(address)}, whose mapping has ended`,
      );
    };
    return {
      write: (address, bytes) => {
        look(address, "write");
        return engine.write(address, bytes);
      },
      read: (address, into) => {
        look(address, "read");
        return engine.read(address, into);
      },
    };
  }

  /** The latest dead mapping that covers the address, where no live one does. */
  #deadAt(device: string, address: DmaAddr): Track | undefined {
    const pfn = toPfn(address);
    let dead: Track | undefined;
    for (const track of this.#tracks) {
      if (track.attachment.device.name !== device || !covers(track.table, pfn, pfn + 1)) continue;
      if (track.live) return undefined;
      dead = track;
    }
    return dead;
  }
}

/** Whether an entry has a page of `[from, end)`. */
function covers(table: ScatterTable, from: number, end: number): boolean {
  for (let i = 0; i < table.entries; i++) {
    const first = table.pfns[i] ?? 0;
    if (from < first + (table.pages[i] ?? 0) && first < end) return true;
  }
  return false;
}
