import { DmaBufError, hex, type IovaRange, iova } from "@peerbar/core";
import { toPages } from "./address-checks.js";

/** One past the last page of a 64-bit space. */
export const SPACE_END = 2 ** 52;

/** A stretch of pages; `end` is one past. */
export interface PageRange {
  readonly first: number;
  readonly end: number;
}

interface Reserved extends PageRange {
  /** Who asked for it: a device's name or a domain. */
  readonly owner: unknown;
}

/** Which IOVAs of an address space may be used at all, and which are chosen automatically (iommufd R4, R5). */
export class IovaSet {
  #reserved: Reserved[] = [];
  #allowed: readonly PageRange[] = [];
  #usable: readonly PageRange[] | undefined;
  #choosable: readonly PageRange[] | undefined;

  /** Holes of the reserved ranges, in bytes (iommufd R4). */
  get ranges(): readonly IovaRange[] {
    return this.usable.map(({ first, end }) => ({
      first: iova(BigInt(first) << 12n),
      last: iova((BigInt(end) << 12n) - 1n),
    }));
  }

  get usable(): readonly PageRange[] {
    this.#usable ??= holesOf(this.#reserved, 0, SPACE_END);
    return this.#usable;
  }

  /** Where an IOVA may be chosen: usable and, if anything is allowed explicitly, allowed. */
  get choosable(): readonly PageRange[] {
    this.#choosable ??=
      this.#allowed.length === 0
        ? this.usable
        : this.#allowed.flatMap((range) => holesOf(this.#reserved, range.first, range.end));
    return this.#choosable;
  }

  isReserved(first: number, end: number): boolean {
    return this.#reserved.some((range) => range.first < end && first < range.end);
  }

  isAllowed(first: number, end: number): boolean {
    return this.#allowed.some((range) => range.first < end && first < range.end);
  }

  /** The caller has checked that no area and no allowed range is there. */
  reserve(first: number, end: number, owner: unknown): void {
    if (first >= end) return;
    this.#reserved.push({ first, end, owner });
    this.#changed();
  }

  /** Gives up all that `owner` reserved. */
  release(owner: unknown): void {
    this.#reserved = this.#reserved.filter((range) => range.owner !== owner);
    this.#changed();
  }

  /**
   * @throws DmaBufError EINVAL for a range that ends before it begins, or for two that overlap; else EADDRINUSE over a reserved one. The
   *   old set stays.
   */
  allow(ranges: readonly IovaRange[]): void {
    const next = ranges
      .map(({ first, last }) => {
        if (first < 0n || first >= last || last >= 1n << 64n) {
          throw new DmaBufError("EINVAL", "iommu.allow", `range ${hex(first)} to ${hex(last)}`);
        }
        return { first: toPages(first, "iommu.allow"), end: toPages(last + 1n, "iommu.allow") };
      })
      .sort((a, b) => a.first - b.first);
    // The list is loaded whole before anything looks at what is reserved.
    if (next.some(({ first }, i) => (next[i - 1]?.end ?? 0) > first)) {
      throw new DmaBufError("EINVAL", "iommu.allow", "two allowed ranges overlap");
    }
    const taken = next.find(({ first, end }) => this.isReserved(first, end));
    if (taken !== undefined) {
      throw new DmaBufError(
        "EADDRINUSE",
        "iommu.allow",
        `pages ${hex(taken.first)} to ${hex(taken.end)} meet a reserved range`,
        { rule: "iommufd R5" },
      );
    }
    this.#allowed = next;
    this.#changed();
  }

  #changed(): void {
    this.#usable = undefined;
    this.#choosable = undefined;
  }
}

function holesOf(reserved: readonly Reserved[], first: number, end: number): PageRange[] {
  const holes: PageRange[] = [];
  let at = first;
  for (const range of [...reserved].sort((a, b) => a.first - b.first)) {
    if (range.first >= end) break;
    if (range.first > at) holes.push({ first: at, end: range.first });
    at = Math.max(at, range.end);
  }
  if (at < end) holes.push({ first: at, end });
  return holes;
}
