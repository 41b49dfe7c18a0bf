import { DmaBufError, hex } from "@peerbar/core";
import { isMultiple } from "./address-checks.js";
import type { PageTableFormat } from "./format.js";
import { PageMemory } from "./page-memory.js";
import {
  bestSizes,
  commonAlignment,
  floorLog2,
  frameOf,
  leafEntry,
  protOf,
  SPAN,
  stepOf,
  tableOf,
} from "./page-table-entry.js";
import { PageTableWalk } from "./page-table-walk.js";
import { PROT_MASK, PROT_READ, PROT_WRITE } from "./prot.js";

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
export class IoPageTable extends PageTableWalk {
  /** Pages mapped now. */
  mappedPages = 0;
  /** Largest supported log2 not above the index. */
  readonly #bestSize: Uint8Array;
  /** One level holds pages of several sizes. */
  readonly #mixed: boolean;
  /** Pages of the largest page, in a format with one size a level, and that level; else 0. */
  readonly #largest: number;
  readonly #largestLevel: number;
  readonly #physPages: number;
  readonly #firstPage: number;
  readonly #endPage: number;

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
    super(format, memory);
    this.#bestSize = bestSizes(format.sizes);
    this.#mixed = format.sizes.some((log2) => log2 % 9 !== 0);
    this.#largestLevel = this.#mixed ? 0 : format.sizes.length - 1;
    this.#largest = this.#mixed ? 0 : 2 ** (9 * this.#largestLevel);
    this.#physPages = 2 ** (format.physBits - format.pageShift);
    const shift = BigInt(format.pageShift);
    this.#firstPage = Number(aperture.first >> shift);
    this.#endPage = Number((aperture.last + 1n) >> shift);
  }

  /**
   * Maps `pages` pages, with the largest page size that alignment and length allow at each point.
   *
   * @throws DmaBufError EADDRINUSE or EEXIST as the format says where something is mapped (dma-iova R9), ENOMEM, ERANGE outside of the
   *   aperture or the physical address width, EINVAL without any permission. Nothing of a failed call stays.
   */
  map(iova: number, phys: number, pages: number, prot: number): void {
    if (
      !(
        iova >= this.#firstPage &&
        phys >= 0 &&
        iova + pages <= this.#endPage &&
        phys + pages <= this.#physPages &&
        isWhole(iova) &&
        isWhole(phys)
      )
    ) {
      throw this.#outOfRange(iova, phys, pages);
    }
    if ((prot & (PROT_READ | PROT_WRITE)) === 0 || !(pages > 0) || !isWhole(pages)) {
      throw badMap(pages);
    }
    if (pages === 1) this.#mapOne(iova, phys, prot & PROT_MASK);
    else if (pages === this.#largest && ((iova | phys) & (pages - 1)) === 0) {
      this.#mapLargest(iova, phys, prot & PROT_MASK);
    } else this.#mapRun(iova, phys, pages, prot & PROT_MASK);
    this.mappedPages += pages;
  }

  /**
   * Unmaps up to `pages` pages and returns how many went; it stops at the first hole. A large page goes as a whole or stays, as the format
   * says, so the result can be more than was asked for.
   */
  unmap(iova: number, pages: number): number {
    let slot = -1;
    if (pages === 1) slot = this.#mixed ? -1 : this.smallestAt(iova);
    else if (pages === this.#largest) slot = this.gibibyteAt(iova);
    const done = slot < 0 ? this.#unmapRun(iova, pages) : this.#unmapEntry(slot, pages);
    this.mappedPages -= done;
    return done;
  }

  /**
   * Pages from `iova` on, at most `maxPages`, that are mapped, contiguous in physical memory and equal in permissions; 0 for a hole.
   * `iova_to_phys` of the kernel, by runs.
   */
  lookup(iova: number, maxPages: number, out: Translation): number {
    const slot = this.find(iova);
    if (slot < 0) return 0;
    const entry = this.nodes.entryAt(slot);
    const prot = protOf(entry);
    out.pfn = frameOf(entry) + this.#offset(iova);
    out.prot = prot;
    let run = this.#runIn(slot, iova, maxPages);
    while (run < maxPages) {
      const next = this.find(iova + run);
      if (next < 0) break;
      const more = this.nodes.entryAt(next);
      if (protOf(more) !== prot || frameOf(more) + this.#offset(iova + run) !== out.pfn + run)
        break;
      run += this.#runIn(next, iova + run, maxPages - run);
    }
    return Math.min(run, maxPages);
  }

  /** True where every page of the stretch is mapped, by entries that end with it. */
  covers(iova: number, pages: number): boolean {
    const end = iova + pages;
    let at = iova;
    while (at < end) {
      const slot = this.find(at);
      if (slot < 0) return false;
      const size = this.#sizeOf(this.nodes.entryAt(slot));
      if (!isMultiple(at, size)) return false;
      // Pages of 4 KiB end anywhere.
      at += size === 1 ? this.#runIn(slot, at, end - at) : size;
    }
    return at === end;
  }

  override destroy(): void {
    super.destroy();
    this.mappedPages = 0;
  }

  #mapOne(iova: number, phys: number, prot: number): void {
    const index = iova & 511;
    const slot = iova - index === this.leafStart ? (this.leaf << 9) | index : this.slotFor(iova, 0);
    if (!this.nodes.put(slot, leafEntry(phys - index, prot, 0))) throw this.occupied(iova);
  }

  #mapLargest(iova: number, phys: number, prot: number): void {
    const slot = this.slotFor(iova, this.#largestLevel);
    const value = leafEntry(phys - (slot & 511) * this.#largest, prot, 0);
    if (!this.nodes.put(slot, value)) throw this.occupied(iova);
  }

  #mapRun(iova: number, phys: number, pages: number, prot: number): void {
    let done = this.#fill(iova, phys, pages, prot);
    if (done === pages) return;
    try {
      while (done < pages) {
        done += this.#fill(iova + done, phys + done, pages - done, prot);
      }
    } catch (error) {
      for (let at = 0; at < done; ) at += this.#unmapInTable(iova + at, done - at);
      throw error;
    }
  }

  /** Maps as many of the pages, but at least one, as one table takes at once; returns how many. */
  #fill(iova: number, phys: number, pages: number, prot: number): number {
    const gone = this.#mixed
      ? this.#fillMixed(iova, phys, pages, prot)
      : this.#fillLevel(iova, phys, pages, prot);
    if (gone === 0) throw this.occupied(iova);
    return gone;
  }

  /**
   * Maps up to `pages` by pages of the largest size that alignment and length allow, until the table's end or an entry in use; returns how
   * many. For formats with one size a level, 1 GiB at most: small integers only.
   */
  #fillLevel(iova: number, phys: number, pages: number, prot: number): number {
    const both = iova | phys;
    let level = 0;
    if ((both & 0x1ff) === 0 && pages >= 0x200) {
      level = (both & 0x3_ffff) === 0 && pages >= 0x4_0000 ? this.#largestLevel : 1;
    }
    const shift = 9 * level;
    const first = this.slotFor(iova, level);
    const nodes = this.nodes;
    const value = leafEntry(phys - ((first & 511) << shift), prot, 0);
    const tableEnd = (first | 511) + 1;
    const entries = pages < 0x4000_0000 ? pages >> shift : 512;
    if (entries === 1) return nodes.put(first, value) ? 1 << shift : 0;
    const end = nodes.firstUsed(first, Math.min(tableEnd, first + entries));
    if (end === first) return 0;
    if (shift === 0) nodes.fill(first, end, value);
    else nodes.fillEach(first, end, value);
    return (end - first) << shift;
  }

  /** The same where one level holds pages of several sizes. */
  #fillMixed(iova: number, phys: number, pages: number, prot: number): number {
    const log2 = this.#pickSize(iova, phys, pages);
    // A larger page may fit further on: the distance never changes, so it bounds the sizes of the whole run.
    const largest = this.#bestSize[commonAlignment(Math.abs(iova - phys), 0)] ?? 0;
    const level = Math.floor(log2 / 9);
    const contig = log2 - level * 9;
    const span = SPAN[level] ?? 1;
    const first = level > 2 ? this.upperSlot(iova, level) : this.slotFor(iova, level);
    const entries = log2 === largest ? Math.floor(pages / span) : 1 << contig;
    const wanted = Math.min((first | 511) + 1, first + entries);
    const nodes = this.nodes;
    const end = first + (((nodes.firstUsed(first, wanted) - first) >>> contig) << contig);
    const value = leafEntry(phys - (first & 511) * span, prot, contig);
    if (end > first && level === 0) nodes.fill(first, end, value);
    else if (end > first) nodes.fillEach(first, end, value);
    return (end - first) * span;
  }

  /** Largest page, as log2 of pages, that both addresses and the length allow. */
  #pickSize(iova: number, phys: number, pages: number): number {
    if (pages < 2) return 0;
    return this.#bestSize[Math.min(commonAlignment(iova, phys), floorLog2(pages))] ?? 0;
  }

  #unmapEntry(slot: number, pages: number): number {
    this.nodes.releaseOne(slot);
    if (this.nodes.used[slot >>> 5] === 0) this.#pruneEmpty(slot >>> 9);
    return pages;
  }

  #pruneEmpty(table: number): void {
    if (this.nodes.isEmpty(table)) this.prune(table);
  }

  #unmapRun(iova: number, pages: number): number {
    if (!isWhole(iova) || !isWhole(pages)) return 0;
    let done = 0;
    while (done < pages) {
      const gone = this.#unmapInTable(iova + done, pages - done);
      if (gone === 0) break;
      done += gone;
    }
    return done;
  }

  /** Pages mapped by the leaf entry that was found last. */
  #sizeOf(entry: number): number {
    return (SPAN[this.foundLevel] ?? 1) * stepOf(entry);
  }

  /** Pages from the first of the table that was found last. */
  #offset(iova: number): number {
    return this.foundLevel === 0 ? iova & 511 : iova - this.#tableStart(iova);
  }

  #tableStart(iova: number): number {
    const span = SPAN[this.foundLevel + 1] ?? 1;
    return Math.floor(iova / span) * span;
  }

  /** Pages from `iova` to the end of the run of equal entries in the table that was found last; more than `maxPages` are not looked for. */
  #runIn(slot: number, iova: number, maxPages: number): number {
    const span = SPAN[this.foundLevel] ?? 1;
    const head = span === 1 ? 1 : span - (iova - Math.floor(iova / span) * span);
    if (head >= maxPages) return head;
    const entries = Math.ceil((maxPages - head) / span) + 1;
    const same = this.nodes.runOf(slot, Math.min((slot | 511) + 1, slot + entries));
    return head + (same - slot - 1) * span;
  }

  /** Unmaps within one table; returns the pages that went, 0 at a hole or where a large page is cut. */
  #unmapInTable(iova: number, pages: number): number {
    const first = this.find(iova);
    if (first < 0) return 0;
    if (this.#mixed) return this.#unmapMixed(first, iova, pages);
    const nodes = this.nodes;
    const level = this.foundLevel;
    let done: number;
    if (level === 0) {
      const end = nodes.firstFree(first, Math.min((first | 511) + 1, first + pages));
      nodes.release(first, end);
      done = end - first;
    } else {
      const size = level === 1 ? 0x200 : 0x4_0000;
      if (!this.#mayRemove(iova, size, pages)) return 0;
      const whole = Math.min(512, Math.max(1, Math.floor(pages / size)));
      const end = nodes.leavesFrom(first, Math.min((first | 511) + 1, first + whole));
      nodes.release(first, end);
      done = (end - first) * size;
    }
    if (nodes.used[first >>> 5] === 0) this.#pruneEmpty(first >>> 9);
    return done;
  }

  /** The same where one level holds pages of several sizes. */
  #unmapMixed(first: number, iova: number, pages: number): number {
    const nodes = this.nodes;
    const span = SPAN[this.foundLevel] ?? 1;
    const tableEnd = (first | 511) + 1;
    let slot = first;
    let done = 0;
    do {
      const entry = nodes.entryAt(slot);
      if (tableOf(entry) !== 0) break;
      const step = stepOf(entry);
      if (!this.#mayRemove(iova + done, span * step, pages - done)) break;
      done += span * step;
      slot += step;
    } while (done < pages && slot < tableEnd && nodes.has(slot));
    if (done === 0) return 0;
    nodes.release(first, slot);
    if (nodes.used[first >>> 5] === 0) this.#pruneEmpty(first >>> 9);
    return done;
  }

  /** A large page goes from its start on only, and as a whole. */
  #mayRemove(iova: number, size: number, pages: number): boolean {
    const aligned = size <= 0x4_0000 ? (iova & (size - 1)) === 0 : isMultiple(iova, size);
    return aligned && (size <= pages || this.format.partialUnmap === "whole");
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

/** Nothing at all to compute where the engine knows a small integer, unlike `Number.isInteger`. */
function isWhole(pages: number): boolean {
  return Math.floor(pages) === pages;
}

function badMap(pages: number): DmaBufError {
  return new DmaBufError(
    "EINVAL",
    "iommu.map",
    `${pages} pages, not a whole number above 0, or neither readable nor writable`,
  );
}
