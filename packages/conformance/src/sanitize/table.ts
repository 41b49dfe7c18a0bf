import {
  type Attachment,
  hex,
  isPageAligned,
  PAGE_BYTES,
  type ScatterEntry,
  type ScatterTable,
} from "@peerbar/core";
import { WatchedMapper } from "./mapper.js";
import type { Sanitizer } from "./sanitizer.js";

/** @internal Reports what is wrong with a table as its exporter hands it out: alignment, length, links that were never synced. */
export function checkTable(
  attachment: Attachment,
  table: ScatterTable,
  subject: string,
  sanitizer: Sanitizer,
): void {
  const { buffer, device } = attachment;
  const entries: ScatterEntry[] = [];
  for (let i = 0; i < table.entries; i++) {
    const pfn = table.pfns[i] ?? 0;
    // Such a number is no page, and makes no address either.
    const entry = Number.isSafeInteger(pfn) ? table.entry(i) : undefined;
    if (entry !== undefined) entries.push(entry);
    if (entry !== undefined && isAligned(entry)) continue;
    const where =
      entry === undefined ? `page ${String(pfn)}` : `${hex(entry.address)}+${hex(entry.length)}`;
    sanitizer.report("table-misaligned", subject, `entry ${String(i)} is ${where}`);
    break;
  }
  const size = table.size;
  // A buffer whose size is not whole pages is rounded up.
  if (size < buffer.size || size >= buffer.size + PAGE_BYTES) {
    const message = `${hex(size)} bytes are mapped of a buffer of ${hex(buffer.size)} bytes`;
    sanitizer.report("table-size-mismatch", subject, message);
  }
  if (table.space !== "iova" || !(device.dma instanceof WatchedMapper)) return;
  const unsynced = device.dma.unsynced(entries);
  if (unsynced > 0n) {
    const message = `${hex(unsynced)} bytes were linked and handed out without a sync`;
    sanitizer.report("iova-not-synced", subject, message);
  }
}

function isAligned({ address, length }: ScatterEntry): boolean {
  return isPageAligned(address) && isPageAligned(BigInt(length));
}
