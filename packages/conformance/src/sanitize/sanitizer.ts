import type {
  Attachment,
  DmaBuf,
  DmaDevice,
  DmaMapper,
  ExporterOps,
  ImporterOps,
  IommuBackend,
  ScatterTable,
} from "@peerbar/core";
import { watchBackend } from "./backend.js";
import { watchBuffer } from "./buffer.js";
import { DmaTracker } from "./dma-tracker.js";
import { watchExporter } from "./exporter.js";
import { watchImporter } from "./importer.js";
import { WatchedMapper } from "./mapper.js";
import { type Defect, type DefectReport, defectRules, type HistoryEntry } from "./report.js";
import { checkTable } from "./table.js";

/** How a {@link Sanitizer} tells what it finds, and how much history it keeps. */
export interface SanitizerOptions {
  /** Called with each defect as it is found. Must not throw. */
  readonly onReport?: ((report: DefectReport) => void) | undefined;
  /** Steps kept; older ones are forgotten. 1024 by default. */
  readonly historyLength?: number;
}

/**
 * Watches buffers, exporters, importers and mappers, and reports broken lifetimes with the history that led there. What is watched
 * works as before: errors are thrown on, nothing is mended.
 */
export class Sanitizer {
  readonly #onReport: ((report: DefectReport) => void) | undefined;
  readonly #limit: number;
  readonly #history: HistoryEntry[] = [];
  readonly #reports: DefectReport[] = [];
  readonly #leakChecks: (() => void)[] = [];
  readonly #dma = new DmaTracker();
  /** Tables seen: one that passes a watched exporter and a watched buffer is reported once. */
  readonly #tables = new WeakSet<ScatterTable>();
  #step = 0;

  /** Watches nothing yet: see {@link sanitize}. Without options reports are collected, and nothing is thrown. */
  constructor(options: SanitizerOptions = {}) {
    this.#onReport = options.onReport;
    this.#limit = options.historyLength ?? 1024;
  }

  /** Defects so far, in order. */
  get reports(): readonly DefectReport[] {
    return this.#reports;
  }

  /** Watches a buffer and all its attachments from now on. Returns the same buffer. */
  buffer(buffer: DmaBuf): DmaBuf {
    watchBuffer(buffer, this, this.#dma);
    return buffer;
  }

  /** The exporter's operations, watched: give them to `DmaBuf.export` in place of its own. */
  exporter(ops: ExporterOps): ExporterOps {
    return watchExporter(ops, this);
  }

  /** The importer's operations, watched: give them to `attach` in place of its own. */
  importer(ops: ImporterOps): ImporterOps {
    return watchImporter(ops, this);
  }

  /** The DMA API of a device, watched. */
  mapper(dma: DmaMapper, name: string): DmaMapper {
    const watched = new WatchedMapper(dma, name, this);
    this.atEnd(() => {
      watched.reportLeaks();
    });
    return watched;
  }

  /** A device whose mapper and DMA engine are watched; accesses through mappings that have ended are reported. */
  device(device: DmaDevice): DmaDevice {
    const { dma, engine, name, pciAddress, dmaMask } = device;
    return {
      name,
      pciAddress,
      dmaMask,
      ...(dma === undefined ? {} : { dma: this.mapper(dma, name) }),
      ...(engine === undefined ? {} : { engine: this.#dma.engine(engine, name, this) }),
    };
  }

  /** A backend whose ports' DMA APIs are watched. */
  backend<B extends IommuBackend>(backend: B): B {
    return watchBackend(backend, this);
  }

  /** Reports what is still held: to be called when everything should be gone. Called again, it tells what it told. */
  finish(): readonly DefectReport[] {
    for (const check of this.#leakChecks.splice(0)) check();
    return this.#reports;
  }

  /** @internal */
  atEnd(check: () => void): void {
    this.#leakChecks.push(check);
  }

  /** @internal A table as its exporter hands it out. */
  table(attachment: Attachment, table: ScatterTable, subject: string): void {
    if (this.#tables.has(table)) return;
    this.#tables.add(table);
    checkTable(attachment, table, subject, this);
  }

  /** @internal Name of the attachment that has that range of the mapper's IOVAs mapped. */
  userOf(dma: DmaMapper, address: bigint, length: bigint): string | undefined {
    return this.#dma.userOf(dma, address, length);
  }

  /** @internal Adds a step to the history. */
  note(subject: string, operation: string): void {
    this.#step += 1;
    this.#history.push({ step: this.#step, subject, operation });
    if (this.#history.length > this.#limit) this.#history.shift();
  }

  /** @internal Reports a defect with the history of its subject. */
  report(defect: Defect, subject: string, message: string): void {
    const history = this.#history.filter((entry) => related(entry.subject, subject));
    const report: DefectReport = {
      schemaVersion: 1,
      defect,
      rule: defectRules[defect],
      subject,
      message,
      history: history.slice(-32),
    };
    this.#reports.push(report);
    this.#onReport?.(report);
  }
}

/** A buffer's history is also that of its attachments: `buffer/attachment`. */
function related(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
}

/**
 * Watches anything that a third party writes: operations of an exporter or of an importer, a backend, or a buffer.
 * Several calls with one sanitizer share its history.
 */
export function sanitize<T extends DmaBuf | ExporterOps | ImporterOps | IommuBackend>(
  target: T,
  sanitizer: Sanitizer,
): T {
  if ("invalidateMappings" in target && "reservation" in target) {
    return sanitizer.buffer(target) as T;
  }
  if ("allocAddressSpace" in target) return sanitizer.backend(target as T & IommuBackend);
  if ("offers" in target) return sanitizer.exporter(target) as T;
  return sanitizer.importer(target) as T;
}
