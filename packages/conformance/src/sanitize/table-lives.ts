import type { ScatterTable } from "@peerbar/core";
import type { Defect } from "./report.js";

/** @internal Which tables are mapped, and which were. */
export class TableLives {
  readonly #live = new Set<ScatterTable>();
  readonly #ended = new WeakSet<ScatterTable>();

  begin(table: ScatterTable): void {
    this.#live.add(table);
  }

  end(table: ScatterTable): void {
    this.#live.delete(table);
    this.#ended.add(table);
  }

  /** What is wrong with unmapping it now. */
  defect(table: ScatterTable): Extract<Defect, "double-unmap" | "unmap-never-mapped"> | undefined {
    if (this.#live.has(table)) return undefined;
    return this.#ended.has(table) ? "double-unmap" : "unmap-never-mapped";
  }
}
