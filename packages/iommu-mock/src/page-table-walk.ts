import { DmaBufError, hex } from "@peerbar/core";
import type { PageTableFormat } from "./format.js";
import type { PageMemory } from "./page-memory.js";
import { SPAN, tableEntry, tableOf } from "./page-table-entry.js";
import { TableNodes } from "./table-nodes.js";

/** The tables of a radix page table and the ways through them. What the leaf entries mean is {@link IoPageTable}'s. */
export class PageTableWalk {
  readonly format: PageTableFormat;
  protected readonly nodes = new TableNodes();
  /** Level of the entry that {@link find} found. */
  protected foundLevel = 0;
  /** Last level-0 table used, and the first of the 512 pages it covers; NaN for none. */
  protected leaf = 0;
  protected leafStart = Number.NaN;
  /** The same of level 2, which covers 2^27 pages. */
  #mid = 0;
  #midStart = Number.NaN;
  readonly #memory: PageMemory;
  #root: number;
  #levels: number;

  /** @throws DmaBufError ENOMEM where not even the top table can be had. */
  constructor(format: PageTableFormat, memory: PageMemory) {
    this.format = format;
    this.#memory = memory;
    this.#levels = format.levels;
    this.#root = this.#newTable();
    if (this.#root === 0) throw noMemory();
  }

  /** Pages of memory that the table itself uses, the top included. */
  get tablePages(): number {
    return this.nodes.taken;
  }

  /** Gives every page back, the top included. The table cannot be used afterwards. */
  destroy(): void {
    for (let left = this.nodes.taken; left > 0; left--) this.#memory.give();
    this.nodes.clear();
    this.#root = 0;
    this.#levels = 0;
    this.leafStart = Number.NaN;
    this.#midStart = Number.NaN;
  }

  /** Slot of the leaf entry that maps `iova`, or -1; sets {@link foundLevel}. */
  protected find(iova: number): number {
    const index = iova & 511;
    if (iova - index === this.leafStart) {
      const slot = (this.leaf << 9) | index;
      this.foundLevel = 0;
      return this.nodes.has(slot) ? slot : -1;
    }
    const low = iova & 0x7ff_ffff;
    return iova - low === this.#midStart ? this.#findBelow(iova, low) : this.#findAbove(iova, low);
  }

  /** Slot of the page of 4 KiB at `iova` if it lies in the table used last; else -1, which is no answer. */
  protected smallestAt(iova: number): number {
    const index = iova & 511;
    if (iova - index !== this.leafStart) return -1;
    const slot = (this.leaf << 9) | index;
    return this.nodes.has(slot) ? slot : -1;
  }

  /** The same for a page of 1 GiB that starts at `iova`. */
  protected gibibyteAt(iova: number): number {
    const low = iova & 0x7ff_ffff;
    if (iova - low !== this.#midStart || (low & 0x3_ffff) !== 0) return -1;
    const slot = (this.#mid << 9) | (low >>> 18);
    return this.nodes.has(slot) && tableOf(this.nodes.entries[slot] ?? 0) === 0 ? slot : -1;
  }

  /** Slot for `iova` in the table at `level`, 0 to 2; tables on the way are made where they are missing. */
  protected slotFor(iova: number, level: number): number {
    const low = iova & 0x7ff_ffff;
    if (iova - low !== this.#midStart) {
      const slot = this.upperSlot(iova, 2);
      this.#mid = slot >>> 9;
      this.#midStart = iova - low;
    }
    const slot2 = (this.#mid << 9) | (low >>> 18);
    if (level === 2) return slot2;
    const slot1 = (this.#tableAt(slot2, iova) << 9) | ((low >>> 9) & 511);
    if (level === 1) return slot1;
    const index = low & 511;
    const leaf = this.#tableAt(slot1, iova);
    this.leaf = leaf;
    this.leafStart = iova - index;
    return (leaf << 9) | index;
  }

  /** The same for `level` 2 and above. */
  protected upperSlot(iova: number, level: number): number {
    while (this.#levels <= level || iova >= (SPAN[this.#levels] ?? 0)) this.#grow(iova);
    let table = this.#root;
    for (let at = this.#levels - 1; ; at--) {
      const slot = (table << 9) | (Math.floor(iova / (SPAN[at] ?? 1)) & 511);
      if (at === level) return slot;
      table = this.#tableAt(slot, iova);
    }
  }

  /** Gives back tables that became empty, upwards from `table`, and levels on top that are not needed. */
  protected prune(from: number): void {
    const nodes = this.nodes;
    let table = from;
    while (table !== this.#root && nodes.isEmpty(table)) {
      const slot = nodes.parents[table] ?? 0;
      nodes.releaseOne(slot);
      this.#giveTable(table);
      table = slot >>> 9;
    }
    if (table !== this.#root) return;
    while (this.#levels > this.format.levels) {
      const first = table * 512;
      if (nodes.firstUsed(first + 1, first + 512) !== first + 512) return;
      if (nodes.has(first)) {
        const child = tableOf(nodes.entries[first] ?? 0);
        if (child === 0) return;
        nodes.releaseOne(first);
        this.#root = child;
        this.#giveTable(table);
        table = this.#root;
      }
      this.#levels -= 1;
    }
  }

  /** The error of a map over an entry (dma-iova R9). */
  protected occupied(iova: number): DmaBufError {
    const at = hex(BigInt(iova) << BigInt(this.format.pageShift));
    return new DmaBufError(this.format.occupied, "iommu.map", `IOVA ${at} is mapped already`, {
      rule: "dma-iova R9",
      hint: "unmap it first, or map elsewhere",
    });
  }

  /** {@link find} from the level-2 table at hand; `low` are the bits of `iova` that it resolves. */
  #findBelow(iova: number, low: number): number {
    const nodes = this.nodes;
    const slot2 = (this.#mid << 9) | (low >>> 18);
    if (!nodes.has(slot2)) return -1;
    const table1 = tableOf(nodes.entries[slot2] ?? 0);
    if (table1 === 0) {
      this.foundLevel = 2;
      return slot2;
    }
    const slot1 = (table1 << 9) | ((low >>> 9) & 511);
    if (!nodes.has(slot1)) return -1;
    const leaf = tableOf(nodes.entries[slot1] ?? 0);
    if (leaf === 0) {
      this.foundLevel = 1;
      return slot1;
    }
    const index = low & 511;
    const slot = (leaf << 9) | index;
    this.leaf = leaf;
    this.leafStart = iova - index;
    this.foundLevel = 0;
    return nodes.has(slot) ? slot : -1;
  }

  /** {@link find} from the top. */
  #findAbove(iova: number, low: number): number {
    if (!(iova >= 0 && iova < (SPAN[this.#levels] ?? 0)) || this.#levels === 0) return -1;
    const nodes = this.nodes;
    let table = this.#root;
    for (let at = this.#levels - 1; at > 2; at--) {
      const slot = (table << 9) | (Math.floor(iova / (SPAN[at] ?? 1)) & 511);
      if (!nodes.has(slot)) return -1;
      table = tableOf(nodes.entries[slot] ?? 0);
      if (table === 0) {
        this.foundLevel = at;
        return slot;
      }
    }
    this.#mid = table;
    this.#midStart = iova - low;
    return this.#findBelow(iova, low);
  }

  /** The table that hangs at `slot`, made where there is none. */
  #tableAt(slot: number, iova: number): number {
    const nodes = this.nodes;
    if (nodes.has(slot)) {
      const table = tableOf(nodes.entries[slot] ?? 0);
      // A large page is in the way.
      if (table === 0) throw this.occupied(iova);
      return table;
    }
    const child = this.#newTable();
    if (child === 0) {
      this.prune(slot >>> 9);
      throw noMemory();
    }
    this.#hang(child, slot);
    return child;
  }

  /** Another level on top (AMD v1). An empty top simply moves up. */
  #grow(iova: number): void {
    if (this.#levels >= this.format.maxLevels) {
      throw new DmaBufError("ERANGE", "iommu.map", `page ${String(iova)} needs another level`);
    }
    if (!this.nodes.isEmpty(this.#root)) {
      const top = this.#newTable();
      if (top === 0) {
        this.prune(this.#root);
        throw noMemory();
      }
      this.#hang(this.#root, top * 512);
      this.#root = top;
    } else if (this.#root === this.#mid) this.#midStart = Number.NaN;
    this.#levels += 1;
  }

  #hang(child: number, slot: number): void {
    this.nodes.put(slot, tableEntry(child));
    this.nodes.parents[child] = slot;
  }

  #newTable(): number {
    if (!this.#memory.take()) return 0;
    return this.nodes.take();
  }

  #giveTable(table: number): void {
    if (table === this.leaf) this.leafStart = Number.NaN;
    if (table === this.#mid) this.#midStart = Number.NaN;
    this.nodes.give(table);
    this.#memory.give();
  }
}

function noMemory(): DmaBufError {
  return new DmaBufError("ENOMEM", "iommu.map", "no page for a page table");
}
