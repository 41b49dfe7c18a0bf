import type { ExporterOps, ScatterTable } from "@peerbar/core";
import { isHeld, subjectOf } from "./buffer.js";
import type { Sanitizer } from "./sanitizer.js";

/**
 * @internal An exporter's operations, watched: who calls them past the core, without the lock or with a table that is not mapped,
 * is reported.
 */
export function watchExporter(ops: ExporterOps, sanitizer: Sanitizer): ExporterOps {
  const live = new Set<ScatterTable>();
  const ended = new WeakSet<ScatterTable>();
  const changes: Pick<ExporterOps, "map" | "unmap"> = {
    map(attachment, direction, held) {
      const subject = subjectOf(attachment);
      sanitizer.note(subject, `exporter map ${direction}`);
      if (!isHeld(attachment.buffer, held)) {
        sanitizer.report("map-without-lock", subject, "the exporter's map without the lock");
      }
      const table = ops.map(attachment, direction, held);
      live.add(table);
      sanitizer.table(attachment, table, subject);
      return table;
    },
    unmap(attachment, table, direction, held) {
      const subject = subjectOf(attachment);
      sanitizer.note(subject, `exporter unmap ${direction}`);
      if (!live.has(table)) {
        const twice = ended.has(table);
        sanitizer.report(
          twice ? "double-unmap" : "unmap-never-mapped",
          subject,
          twice ? "the exporter's unmap twice" : "the exporter never made this table",
        );
      } else if (!isHeld(attachment.buffer, held)) {
        sanitizer.report("map-without-lock", subject, "the exporter's unmap without the lock");
      }
      ops.unmap(attachment, table, direction, held);
      live.delete(table);
      ended.add(table);
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
