import type { ExporterOps } from "@peerbar/core";
import { isHeld, subjectOf } from "./buffer.js";
import type { Sanitizer } from "./sanitizer.js";
import { TableLives } from "./table-lives.js";

/**
 * @internal An exporter's operations, watched: who calls them past the core, without the lock or with a table that is not mapped,
 * is reported.
 */
export function watchExporter(ops: ExporterOps, sanitizer: Sanitizer): ExporterOps {
  const tables = new TableLives();
  const changes: Pick<ExporterOps, "map" | "unmap"> = {
    map(attachment, direction, held) {
      const subject = subjectOf(attachment);
      sanitizer.note(subject, `exporter map ${direction}`);
      if (!isHeld(attachment.buffer, held)) {
        sanitizer.report("map-without-lock", subject, "the exporter's map without the lock");
      }
      const table = ops.map(attachment, direction, held);
      tables.begin(table);
      sanitizer.table(attachment, table, subject);
      return table;
    },
    unmap(attachment, table, direction, held) {
      const subject = subjectOf(attachment);
      sanitizer.note(subject, `exporter unmap ${direction}`);
      const defect = tables.defect(table);
      if (defect !== undefined) {
        const twice = defect === "double-unmap";
        const message = twice ? "the exporter's unmap twice" : "the exporter never made this table";
        sanitizer.report(defect, subject, message);
      } else if (!isHeld(attachment.buffer, held)) {
        sanitizer.report("map-without-lock", subject, "the exporter's unmap without the lock");
      }
      ops.unmap(attachment, table, direction, held);
      tables.end(table);
    },
  };
  return overlay(ops, changes);
}

/** @internal `right` with some methods replaced; private state and identity of `this` stay `right`'s. */
export function overlay<T extends object>(right: T, changes: Partial<T>): T {
  return new Proxy(right, {
    get: (target, key) => {
      if (Object.hasOwn(changes, key)) return Reflect.get(changes, key) as unknown;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}
