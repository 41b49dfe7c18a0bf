import { DmaBufError, hex } from "@peerbar/core";
import type { Area } from "./area.js";

/** The areas of one address space, in order of IOVA; they never overlap (the kernel's `area_itree`). */
export class AreaList {
  readonly #areas: Area[] = [];

  get size(): number {
    return this.#areas.length;
  }

  [Symbol.iterator](): Iterator<Area> {
    return this.#areas.values();
  }

  /** The areas that touch `[first, last]`, lowest first. Do not change the list meanwhile. */
  *within(first: bigint, last: bigint): Generator<Area> {
    for (let i = this.#indexFrom(first); ; i++) {
      const area = this.#areas[i];
      if (area === undefined || area.iova > last) return;
      yield area;
    }
  }

  insert(area: Area): void {
    this.#areas.splice(this.#indexFrom(area.iova), 0, area);
  }

  remove(area: Area): void {
    const index = this.#indexFrom(area.iova);
    if (this.#areas[index] === area) this.#areas.splice(index, 1);
  }

  /**
   * The parts of areas that together cover `[iova, iova + length)` without a hole (`iopt_for_each_contig_area`).
   *
   * @throws DmaBufError ENOENT for a hole.
   */
  contiguous(
    iova: bigint,
    length: bigint,
    syscall: string,
    rule: string,
  ): { readonly area: Area; readonly offset: bigint; readonly length: bigint }[] {
    const end = iova + length;
    const parts = [];
    let at = iova;
    for (let i = this.#indexFrom(iova); at < end; i++) {
      const area = this.#areas[i];
      if (area === undefined || area.iova > at) {
        throw new DmaBufError("ENOENT", syscall, `nothing is mapped at ${hex(at)}`, { rule });
      }
      const stop = area.last + 1n < end ? area.last + 1n : end;
      parts.push({ area, offset: at - area.iova, length: stop - at });
      at = stop;
    }
    return parts;
  }

  #indexFrom(iova: bigint): number {
    let low = 0;
    let high = this.#areas.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const area = this.#areas[middle];
      if (area !== undefined && area.last < iova) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
