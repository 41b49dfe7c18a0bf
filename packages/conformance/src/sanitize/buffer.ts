import {
  type Attachment,
  type DmaBuf,
  type Held,
  isDmaBufError,
  type ScatterTable,
} from "@peerbar/core";
import type { DmaTracker } from "./dma-tracker.js";
import type { Defect } from "./report.js";
import type { Sanitizer } from "./sanitizer.js";
import { TableLives } from "./table-lives.js";

/** @internal Watches a buffer's own operations and those of each attachment made from now on. */
export function watchBuffer(buffer: DmaBuf, sanitizer: Sanitizer, dma: DmaTracker): void {
  const attach = buffer.attach.bind(buffer);
  const invalidate = buffer.invalidateMappings.bind(buffer);
  const watched = new Set<Attachment>();
  replace<DmaBuf, "attach" | "invalidateMappings">(buffer, {
    attach(device, importer) {
      const attachment = attach(device, importer);
      sanitizer.note(subjectOf(attachment), `attach ${attachment.kind} for ${device.name}`);
      watchAttachment(attachment, sanitizer, dma);
      watched.add(attachment);
      return attachment;
    },
    invalidateMappings(held) {
      sanitizer.note(buffer.label, "invalidateMappings");
      if (!isHeld(buffer, held)) {
        sanitizer.report(
          "invalidate-without-lock",
          buffer.label,
          "importers were told without the reservation held",
        );
      }
      dma.invalidated(buffer);
      invalidate(held);
    },
  });
  sanitizer.atEnd(() => {
    for (const attachment of watched) leftOver(attachment, sanitizer);
  });
}

function leftOver(attachment: Attachment, sanitizer: Sanitizer): void {
  if (!attachment.attached) return;
  const { mappings, pins } = attachment;
  const subject = subjectOf(attachment);
  if (mappings > 0) {
    sanitizer.report("mapping-leaked", subject, `${String(mappings)} mappings at the end`);
  }
  if (pins > 0) sanitizer.report("pin-imbalance", subject, `${String(pins)} pins at the end`);
}

function watchAttachment(attachment: Attachment, sanitizer: Sanitizer, dma: DmaTracker): void {
  const subject = subjectOf(attachment);
  const tables = new TableLives();
  /** Calls of mapWait under way: one that fails undoes its own mapping through unmap. */
  let waiting = 0;
  const right = {
    map: attachment.map.bind(attachment),
    mapWait: attachment.mapWait.bind(attachment),
    unmap: attachment.unmap.bind(attachment),
    pin: attachment.pin.bind(attachment),
    unpin: attachment.unpin.bind(attachment),
    detach: attachment.detach.bind(attachment),
    open: attachment.open.bind(attachment),
  };
  /** Notes the operation, reports what it breaks, and lets it run and fail as it would. */
  const step = (operation: string, held: Held, misuse?: () => Defect | undefined): void => {
    sanitizer.note(subject, operation);
    if (!attachment.attached) {
      sanitizer.report("use-after-detach", subject, `${operation} of what was detached`);
    } else if (!isHeld(attachment.buffer, held)) {
      sanitizer.report("map-without-lock", subject, `${operation} without the reservation held`);
    } else {
      const defect = misuse?.();
      if (defect !== undefined) sanitizer.report(defect, subject, explain(defect, operation));
    }
  };
  const mapped = (table: ScatterTable): ScatterTable => {
    tables.begin(table);
    dma.mapped(attachment, table);
    sanitizer.table(attachment, table, subject);
    return table;
  };
  replace<Attachment, keyof typeof right>(attachment, {
    map(direction, held) {
      step(`map ${direction}`, held);
      return mapped(note(sanitizer, subject, () => right.map(direction, held)));
    },
    async mapWait(direction, held, options) {
      step(`map ${direction}, waiting`, held);
      waiting += 1;
      try {
        return mapped(await right.mapWait(direction, held, options));
      } finally {
        waiting -= 1;
      }
    },
    unmap(table, direction, held) {
      step(`unmap ${direction}`, held, () => (waiting > 0 ? undefined : tables.defect(table)));
      note(sanitizer, subject, () => {
        dma.ending(table, () => {
          right.unmap(table, direction, held);
        });
      });
      tables.end(table);
    },
    pin(held) {
      step("pin", held);
      right.pin(held);
    },
    unpin(held) {
      step("unpin", held, () => (attachment.pins === 0 ? "pin-imbalance" : undefined));
      right.unpin(held);
    },
    open(name, held) {
      step(`open ${name}`, held);
      return note(sanitizer, subject, () => right.open(name, held));
    },
    detach() {
      sanitizer.note(subject, "detach");
      if (attachment.attached) leftAtDetach(attachment, sanitizer);
      right.detach();
    },
  });
}

/** Puts other operations in the place of an object's own. */
function replace<T extends object, K extends keyof T>(object: T, operations: Pick<T, K>): void {
  Object.assign(object, operations);
}

function leftAtDetach(attachment: Attachment, sanitizer: Sanitizer): void {
  const subject = subjectOf(attachment);
  const { mappings, pins } = attachment;
  if (mappings > 0) {
    sanitizer.report("mapping-leaked", subject, `detach with ${String(mappings)} mappings left`);
  } else if (pins > 0) {
    sanitizer.report("pin-imbalance", subject, `detach with ${String(pins)} pins left`);
  }
}

function note<T>(sanitizer: Sanitizer, subject: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    sanitizer.note(subject, `... failed: ${isDmaBufError(error) ? error.code : String(error)}`);
    throw error;
  }
}

function explain(defect: Defect, operation: string): string {
  if (defect === "double-unmap") return "the table was unmapped before";
  if (defect === "unmap-never-mapped") return "the table was never mapped here";
  return `${operation} has nothing to undo`;
}

/** @internal */
export function isHeld(buffer: DmaBuf, held: Held | undefined): boolean {
  return held !== undefined && held === buffer.reservation.holder;
}

/** @internal Name of an attachment in reports: below its buffer's. */
export function subjectOf(attachment: Attachment): string {
  return `${attachment.buffer.label}/${attachment.name}`;
}
