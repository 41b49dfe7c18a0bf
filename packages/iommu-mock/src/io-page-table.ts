import { DmaBufError, hex } from "@peerbar/core";
import type { PageTableFormat } from "./format.js";
import { PageMemory } from "./page-memory.js";
import {
  bestSizes,
  CONTIG_SHIFT,
  FLAGS,
  floorLog2,
  frameOf,
  indexOf,
  isEmpty,
  isMultiple,
  LEAF,
  LOW_PAGES,
  POWER,
  SPAN,
  stepOf,
  TABLE,
  trailingZeros,
} from "./page-table-entry.js";
import { PROT_MASK, PROT_READ, PROT_WRITE } from "./prot.js";
import { TableNodes } from "./table-nodes.js";

/** What {@link IoPageTable.lookup} found. */
export interface Translation {
  /** First physical page frame. */
  pfn: number;
  /** PROT_ bits of the mapping. */
  prot: number;
}

/**
 * A radix page table in the given format. Everything is counted in pages of the format's size; nothing here is a bigint and nothing is
 * allocated for each page. A table page is given back as soon as its last entry goes: the kernel keeps some of them, which only its
 * memory use shows.
 */
export class IoPageTable {
  readonly format: PageTableFormat;
  /** Pages mapped now. */
  mappedPages = 0;
  readonly #nodes: TableNodes;
  readonly #memory: PageMemory;
  /** Largest supported log2 not above the index. */
  readonly #bestSize: Uint8Array;
  /** One level holds pages of several sizes. */
  readonly #mixed: boolean;
  readonly #physPages: number;
  readonly #firstPage: number;
  readonly #endPage: number;
  #root: number;
  #levels: number;
  /** Last level-0 table used, and the block of 512 pages it covers. */
  #leafBlock = -1;
  #leaf = 0;
  /** Level of the entry that #find found. */
  #foundLevel = 0;

  /**
   * @param aperture - Usable IOVAs in bytes, both ends included; at most what the format can express.
   * @throws DmaBufError ENOMEM where not even the top table can be had.
   */
  constructor(
    format: PageTableFormat,
    memory: PageMemory = new PageMemory(),
    aperture: { readonly first: bigint; readonly last: bigint } = {
      first: format.firstIova,
      last: format.lastIova,
    },
  ) {
    this.format = format;
    this.#memory = memory;
    this.#levels = format.levels;
    this.#bestSize = bestSizes(format.sizes);
    this.#mixed = format.sizes.some((log2) => log2 % 9 !== 0);
    this.#physPages = 2 ** (format.physBits - format.pageShift);
    const shift = BigInt(format.pageShift);
    this.#firstPage = Number(aperture.first >> shift);
    this.#endPage = Number((aperture.last + 1n) >> shift);
    this.#nodes = new TableNodes();
    this.#root = this.#newTable();
    if (this.#root === 0) throw noMemory();
  }

  /** Pages of memory that the table itself uses, the top included. */
  get tablePages(): number {
    return this.#nodes.used;
  }

  /**
   * Maps `pages` pages, with the largest page size that alignment and length allow at each point.
   *
   * @throws DmaBufError EADDRINUSE or EEXIST as the format says where something is mapped (dma-iova R9), ENOMEM, ERANGE outside of the
   *   aperture or the physical address width, EINVAL without any permission. Nothing of a failed call stays.
   */
  map(iova: number, phys: number, pages: number, prot: number): void {
    if (
      !(iova >= this.#firstPage && iova + pages <= this.#endPage && phys + pages <= this.#physPages)
    ) {
      throw this.#outOfRange(iova, phys, pages);
    }
    if ((prot & (PROT_READ | PROT_WRITE)) === 0 || !(pages > 0)) throw badMap(pages);
    const flags = (prot & PROT_MASK) | LEAF;
    if (pages === 1) this.#mapOne(iova, phys, flags);
    else this.#mapRun(iova, phys, pages, flags);
    this.mappedPages += pages;
  }

  /**
   * Unmaps up to `pages` pages and returns how many went; it stops at the first hole. A large page goes as a whole or stays, as the format
   * says, so the result can be more than was asked for.
   */
  unmap(iova: number, pages: number): number {
    let done = 0;
    while (done < pages) {
      const gone = this.#unmapInTable(iova + done, pages - done);
      if (gone === 0) break;
      done += gone;
    }
    this.mappedPages -= done;
    return done;
  }

  /**
   * Pages from `iova` on, at most `maxPages`, that are mapped, contiguous in physical memory and equal in permissions; 0 for a hole.
   * `iova_to_phys` of the kernel, by runs.
   */
  lookup(iova: number, maxPages: number, out: Translation): number {
    let slot = this.#find(iova);
    if (slot < 0) return 0;
    const entries = this.#nodes.entries;
    let entry = entries[slot] ?? 0;
    const flags = entry & (PROT_MASK | LEAF);
    let frame = frameOf(entry);
    let size = this.#sizeOf(entry);
    const offset = iova - Math.floor(iova / size) * size;
    out.pfn = frame + offset;
    out.prot = flags & PROT_MASK;
    let run = size - offset;
    while (run < maxPages) {
      slot = this.#next(slot, iova + run);
      if (slot < 0) break;
      entry = entries[slot] ?? 0;
      frame = frameOf(entry);
      if (frame !== out.pfn + run || (entry & (PROT_MASK | LEAF)) !== flags) break;
      size = this.#sizeOf(entry);
      run += size;
    }
    return Math.min(run, maxPages);
  }

  /** True where every page of the stretch is mapped, by entries that end with it. */
  covers(iova: number, pages: number): boolean {
    let at = iova;
    const end = iova + pages;
    let slot = this.#find(at);
    while (slot >= 0) {
      const size = this.#sizeOf(this.#nodes.entries[slot] ?? 0);
      if (!isMultiple(at, size)) return false;
      at += size;
      if (at >= end) return at === end;
      slot = this.#next(slot, at);
    }
    return false;
  }

  /** Gives every page back, the top included. The table cannot be used afterwards. */
  destroy(): void {
    for (let left = this.#nodes.used; left > 0; left--) this.#memory.give();
    this.#nodes.clear();
    this.#root = 0;
    this.#levels = 0;
    this.#leafBlock = -1;
    this.mappedPages = 0;
  }

  #mapOne(iova: number, phys: number, flags: number): void {
    const block = Math.floor(iova / 512);
    const table = block === this.#leafBlock ? this.#leaf : this.#tableFor(iova, 0);
    this.#leafBlock = block;
    this.#leaf = table;
    const slot = table * 512 + (iova - block * 512);
    const { entries, counts } = this.#nodes;
    if (entries[slot] !== 0) throw this.#occupied(iova);
    entries[slot] = phys * FLAGS + flags;
    counts[table] = (counts[table] ?? 0) + 1;
  }

  #mapRun(iova: number, phys: number, pages: number, flags: number): void {
    // The distance never changes, so it bounds the page size of the whole run.
    const largest = this.#bestSize[trailingZeros(Math.abs(iova - phys))] ?? 0;
    let done = 0;
    try {
      while (done < pages) {
        const log2 = this.#pickSize(iova + done, phys + done, pages - done);
        const level = Math.floor(log2 / 9);
        const table = this.#tableFor(iova + done, level);
        // In a table that holds several sizes, a larger one may fit further on.
        const many = !this.#mixed || log2 === largest;
        const size = POWER[log2] ?? 1;
        const count = many ? Math.floor((pages - done) / size) : 1;
        const filled = this.#fill(table, iova + done, phys + done, flags, log2, count);
        if (filled === 0) throw this.#occupied(iova + done);
        done += filled * size;
      }
    } catch (error) {
      for (let at = 0; at < done; ) at += this.#unmapInTable(iova + at, done - at);
      throw error;
    }
  }

  /** Puts up to `count` pages of one size into a table, until its end or an entry in use; returns how many. */
  #fill(
    table: number,
    iova: number,
    phys: number,
    flags: number,
    log2: number,
    count: number,
  ): number {
    const level = Math.floor(log2 / 9);
    const contig = log2 - level * 9;
    const step = 1 << contig;
    const { entries, counts } = this.#nodes;
    const first = table * 512 + indexOf(Math.floor(iova / (SPAN[level] ?? 1)));
    const end = Math.min(table * 512 + 512, first + count * step);
    const advance = (POWER[log2] ?? 1) * FLAGS;
    let value = phys * FLAGS + flags + (contig << CONTIG_SHIFT);
    let slot = first;
    if (step === 1) {
      while (slot < end && entries[slot] === 0) {
        entries[slot] = value;
        value += advance;
        slot += 1;
      }
    } else {
      for (; slot < end && isEmpty(entries, slot, step); slot += step) {
        entries.fill(value, slot, slot + step);
        value += advance;
      }
    }
    counts[table] = (counts[table] ?? 0) + slot - first;
    return (slot - first) / step;
  }

  /** Largest page, as log2 of pages, that both addresses and the length allow. */
  #pickSize(iova: number, phys: number, pages: number): number {
    if (pages < 2) return 0;
    const log2 = Math.min(trailingZeros(iova), trailingZeros(phys), floorLog2(pages));
    return this.#bestSize[log2] ?? 0;
  }

  /** The table at `level` on the way to `iova`, made where it is missing. */
  #tableFor(iova: number, level: number): number {
    while (this.#levels <= level || iova >= (SPAN[this.#levels] ?? 0)) this.#grow(iova);
    const high = Math.floor(iova / LOW_PAGES);
    const low = iova - high * LOW_PAGES;
    const nodes = this.#nodes;
    let table = this.#root;
    for (let at = this.#levels - 1; at > level; at--) {
      const index = at < 3 ? (low >>> (9 * at)) & 511 : (high >>> (9 * at - 27)) & 511;
      const slot = table * 512 + index;
      const entry = nodes.entries[slot] ?? 0;
      if (entry === 0) {
        const child = this.#newTable();
        if (child === 0) {
          this.#prune(table);
          throw noMemory();
        }
        nodes.entries[slot] = child * FLAGS + TABLE;
        nodes.counts[table] = (nodes.counts[table] ?? 0) + 1;
        nodes.parents[child] = slot;
        table = child;
      } else {
        // A large page is in the way.
        if ((entry & LEAF) !== 0) throw this.#occupied(iova);
        table = frameOf(entry);
      }
    }
    return table;
  }

  /** Another level on top (AMD v1). An empty top simply moves up. */
  #grow(iova: number): void {
    if (this.#levels >= this.format.maxLevels) throw this.#outOfRange(iova, 0, 1);
    const nodes = this.#nodes;
    if (nodes.counts[this.#root] !== 0) {
      const top = this.#newTable();
      if (top === 0) {
        this.#prune(this.#root);
        throw noMemory();
      }
      nodes.entries[top * 512] = this.#root * FLAGS + TABLE;
      nodes.counts[top] = 1;
      nodes.parents[this.#root] = top * 512;
      this.#root = top;
    }
    this.#levels += 1;
  }

  /** Slot of the entry that maps `iova`, or -1; sets #foundLevel. */
  #find(iova: number): number {
    const { entries } = this.#nodes;
    const block = Math.floor(iova / 512);
    if (block === this.#leafBlock) {
      const slot = this.#leaf * 512 + (iova - block * 512);
      this.#foundLevel = 0;
      return entries[slot] === 0 ? -1 : slot;
    }
    if (!(iova >= 0 && iova < (SPAN[this.#levels] ?? 0)) || this.#levels === 0) return -1;
    const high = Math.floor(iova / LOW_PAGES);
    const low = iova - high * LOW_PAGES;
    let table = this.#root;
    for (let at = this.#levels - 1; at >= 0; at--) {
      const index = at < 3 ? (low >>> (9 * at)) & 511 : (high >>> (9 * at - 27)) & 511;
      const slot = table * 512 + index;
      const entry = entries[slot] ?? 0;
      if (entry === 0) return -1;
      if ((entry & LEAF) !== 0) {
        this.#foundLevel = at;
        return slot;
      }
      table = frameOf(entry);
      if (at === 1) {
        this.#leafBlock = block;
        this.#leaf = table;
      }
    }
    return -1;
  }

  /** The entry for `iova`, which follows the one at `slot` directly. */
  #next(slot: number, iova: number): number {
    if (this.#foundLevel === 0 && ((slot + 1) & 511) !== 0) {
      const { entries } = this.#nodes;
      const entry = entries[slot] ?? 0;
      const step = stepOf(entry);
      const next = slot - (slot & (step - 1)) + step;
      if ((next & 511) !== 0) return entries[next] === 0 ? -1 : next;
    }
    return this.#find(iova);
  }

  /** Pages mapped by the leaf entry that #find found. */
  #sizeOf(entry: number): number {
    return (SPAN[this.#foundLevel] ?? 1) * stepOf(entry);
  }

  /** Unmaps within one table; returns the pages that went, 0 at a hole or where a large page is cut. */
  #unmapInTable(iova: number, pages: number): number {
    let slot = this.#find(iova);
    if (slot < 0) return 0;
    const nodes = this.#nodes;
    const { entries } = nodes;
    const table = slot >>> 9;
    const span = SPAN[this.#foundLevel] ?? 1;
    const first = slot;
    let done = 0;
    if (span === 1 && !this.#mixed) {
      const end = Math.min(table * 512 + 512, slot + pages);
      while (slot < end && entries[slot] !== 0) {
        entries[slot] = 0;
        slot += 1;
      }
      done = slot - first;
    } else {
      do {
        const entry = entries[slot] ?? 0;
        if ((entry & LEAF) === 0) break;
        const step = stepOf(entry);
        const size = span * step;
        if (size > 1 && !this.#mayRemove(iova + done, size, pages - done)) break;
        if (step === 1) entries[slot] = 0;
        else entries.fill(0, slot, slot + step);
        done += size;
        slot += step;
      } while (done < pages && (slot & 511) !== 0);
    }
    const removed = slot - first;
    if (removed > 0) {
      const left = (nodes.counts[table] ?? 0) - removed;
      nodes.counts[table] = left;
      if (left === 0) this.#prune(table);
    }
    return done;
  }

  /** A large page goes from its start on only, and as a whole. */
  #mayRemove(iova: number, size: number, pages: number): boolean {
    return isMultiple(iova, size) && (size <= pages || this.format.partialUnmap === "whole");
  }

  /** Gives back tables that became empty, upwards from `table`, and levels on top that are not needed. */
  #prune(from: number): void {
    const nodes = this.#nodes;
    let table = from;
    while (table !== this.#root && nodes.counts[table] === 0) {
      const slot = nodes.parents[table] ?? 0;
      nodes.entries[slot] = 0;
      this.#giveTable(table);
      table = slot >>> 9;
      nodes.counts[table] = (nodes.counts[table] ?? 0) - 1;
    }
    if (table !== this.#root) return;
    while (this.#levels > this.format.levels) {
      const first = nodes.entries[table * 512] ?? 0;
      const count = nodes.counts[table] ?? 0;
      if (count === 1 && (first & TABLE) !== 0) {
        nodes.entries[table * 512] = 0;
        this.#root = frameOf(first);
        this.#giveTable(table);
        table = this.#root;
      } else if (count > 0) return;
      this.#levels -= 1;
    }
  }

  #newTable(): number {
    if (!this.#memory.take()) return 0;
    return this.#nodes.take();
  }

  #giveTable(table: number): void {
    if (table === this.#leaf) this.#leafBlock = -1;
    this.#nodes.give(table);
    this.#memory.give();
  }

  #occupied(iova: number): DmaBufError {
    const at = hex(BigInt(iova) << BigInt(this.format.pageShift));
    return new DmaBufError(this.format.occupied, "iommu.map", `IOVA ${at} is mapped already`, {
      rule: "dma-iova R9",
      hint: "unmap it first, or map elsewhere",
    });
  }

  #outOfRange(iova: number, phys: number, pages: number): DmaBufError {
    const shift = BigInt(this.format.pageShift);
    const at = (page: number): string =>
      Number.isInteger(page) ? hex(BigInt(page) << shift) : String(page);
    return new DmaBufError(
      "ERANGE",
      "iommu.map",
      `IOVA ${at(iova)} to physical ${at(phys)}, ${at(pages)} bytes, does not fit ${this.format.name}`,
      {
        hint: `IOVAs ${at(this.#firstPage)} up to ${at(this.#endPage)}, physical addresses of ${this.format.physBits} bits`,
      },
    );
  }
}

function noMemory(): DmaBufError {
  return new DmaBufError("ENOMEM", "iommu.map", "no page for a page table");
}

function badMap(pages: number): DmaBufError {
  return new DmaBufError("EINVAL", "iommu.map", `${pages} pages, or neither readable nor writable`);
}
