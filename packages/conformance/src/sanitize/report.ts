/** What a sanitizer can find. */
export type Defect =
  | "double-unmap"
  | "unmap-never-mapped"
  | "unmap-mismatch"
  | "use-after-detach"
  | "map-without-lock"
  | "invalidate-without-lock"
  | "mapping-leaked"
  | "pin-imbalance"
  | "callback-after-detach"
  | "dma-after-unmap"
  | "dma-after-revoke"
  | "iova-freed-twice"
  | "iova-used-after-free"
  | "iova-freed-in-use"
  | "iova-overlap"
  | "iova-out-of-range"
  | "iova-length-mismatch"
  | "iova-not-synced"
  | "iova-leaked"
  | "table-misaligned"
  | "table-size-mismatch";

/** The rule that each defect breaks. */
export const defectRules: Readonly<Record<Defect, string>> = {
  "double-unmap": "dma-buf R25",
  "unmap-never-mapped": "dma-buf R25",
  "unmap-mismatch": "dma-buf R25",
  "use-after-detach": "dma-buf R14",
  "map-without-lock": "dma-buf R16",
  "invalidate-without-lock": "dma-buf R27",
  "mapping-leaked": "dma-buf R14",
  "pin-imbalance": "dma-buf R20",
  "callback-after-detach": "dma-buf R14",
  "dma-after-unmap": "dma-buf R25",
  "dma-after-revoke": "dma-buf R30",
  "iova-freed-twice": "dma-iova R7",
  "iova-used-after-free": "dma-iova R7",
  "iova-freed-in-use": "dma-buf R24",
  "iova-overlap": "dma-iova R9",
  "iova-out-of-range": "dma-iova R11",
  "iova-length-mismatch": "dma-iova R8",
  "iova-not-synced": "dma-iova R8",
  "iova-leaked": "dma-iova R8",
  "table-misaligned": "dma-buf R23",
  "table-size-mismatch": "dma-buf R23",
};

/** One step of the past, in order. */
export interface HistoryEntry {
  /** Counted from 1 over everything that this sanitizer watches. */
  readonly step: number;
  /** Buffer, attachment or mapper. */
  readonly subject: string;
  /** What was done, and how it ended where it failed. */
  readonly operation: string;
}

/** One defect, with how it came about. JSON as it stands. */
export interface DefectReport {
  readonly schemaVersion: 1;
  readonly defect: Defect;
  /** Spec rule that is broken. */
  readonly rule: string;
  /** Buffer, attachment or mapper that it happened to. */
  readonly subject: string;
  readonly message: string;
  /** What happened to that subject before, the defect last; the oldest steps may be missing. */
  readonly history: readonly HistoryEntry[];
}

/** A report for people. */
export function formatDefect(report: DefectReport): string {
  const lines = [`${report.defect}: ${report.subject}: ${report.message} (${report.rule})`];
  for (const { step, subject, operation } of report.history) {
    lines.push(`  #${String(step)} ${subject}: ${operation}`);
  }
  return `${lines.join("\n")}\n`;
}
