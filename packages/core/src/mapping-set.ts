import type { DmaDirection } from "./dma-device.js";
import type { ScatterTable } from "./scatter-table.js";

/** One mapping not yet undone. */
export interface LiveMapping {
  readonly table: ScatterTable;
  readonly direction: DmaDirection;
  /** Number among the attachment's mappings, from 1. */
  readonly id: number;
}

/**
 * @internal The mappings of one attachment. Nearly all have one at a time, so the first is kept without a map; an exporter may return
 * one table several times (dma-buf R24), hence lists.
 */
export class MappingSet {
  #first: LiveMapping | undefined;
  #more: Map<ScatterTable, LiveMapping[]> | undefined;
  #size = 0;
  #made = 0;

  get size(): number {
    return this.#size;
  }

  add(table: ScatterTable, direction: DmaDirection): LiveMapping {
    this.#made += 1;
    const mapping: LiveMapping = { table, direction, id: this.#made };
    if (this.#first === undefined) this.#first = mapping;
    else this.#addMore(mapping);
    this.#size += 1;
    return mapping;
  }

  /** The mapping of that table: of that direction where there are several. */
  find(table: ScatterTable, direction: DmaDirection): LiveMapping | undefined {
    const first = this.#first?.table === table ? this.#first : undefined;
    if (first?.direction === direction) return first;
    const others = this.#more?.get(table);
    return others?.find((other) => other.direction === direction) ?? first ?? others?.[0];
  }

  delete(mapping: LiveMapping): void {
    this.#size -= 1;
    if (this.#first === mapping) {
      this.#first = undefined;
      return;
    }
    const others = this.#more?.get(mapping.table);
    if (others === undefined) return;
    others.splice(others.indexOf(mapping), 1);
    if (others.length === 0) this.#more?.delete(mapping.table);
  }

  #addMore(mapping: LiveMapping): void {
    const more = this.#more ?? new Map<ScatterTable, LiveMapping[]>();
    this.#more = more;
    const others = more.get(mapping.table);
    if (others === undefined) more.set(mapping.table, [mapping]);
    else others.push(mapping);
  }
}
