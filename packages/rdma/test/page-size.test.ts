import { MAX_SEGMENT_PAGES, ScatterTable } from "@peerbar/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findBestPageSize, pageSizes } from "../src/index.js";
import { span } from "./fixtures/exporter.js";

const ALL = pageSizes(12, 30);
const K = 1024;
const M = 1024 * K;

function best(
  spans: readonly { readonly pfn: number; readonly pages: number }[],
  virt: bigint,
  length: bigint,
  supported = ALL,
  offset = 0n,
): bigint {
  const table = ScatterTable.fromSpans("iova", spans);
  return findBestPageSize(table.slice(0, table.totalPages), offset, virt, length, supported);
}

describe("page-size selection", () => {
  it("rdma-umem R33: the vectors of the specification", () => {
    expect(best([span(0x4000_0000, 512)], 0x20_0000n, 0x20_0000n)).toBe(0x20_0000n);
    expect(best([span(0x4000_1000, 256)], 0x1000n, 0x10_0000n)).toBe(0x20_0000n);
    expect(best([span(0x4000_1000, 256)], 0x2000n, 0x10_0000n)).toBe(0x1000n);
    expect(best([span(0x1_0000, 16), span(0x9_0000, 16)], 0x1_0000n, 0x2_0000n)).toBe(0x1_0000n);
    const large = [
      { pfn: 0x10_0000, pages: MAX_SEGMENT_PAGES },
      { pfn: 0x10_0000 + MAX_SEGMENT_PAGES, pages: 1 },
    ];
    expect(best(large, 0x1_0000_0000n, 0x1_0000_0000n)).toBe(1n << 30n);
  });

  it("rdma-umem R33: an entry that does not follow its predecessor constrains by address and by border", () => {
    expect(best([span(4 * M, 256), span(M, 256)], 0n, 0x20_0000n)).toBe(0x10_0000n);
    expect(best([span(4 * M, 1), span(8 * M, 511)], 0n, 0x20_0000n)).toBe(0x1000n);
    expect(best([span(4 * M, 1), span(4 * M + 4 * K, 511)], 0n, 0x20_0000n)).toBe(0x20_0000n);
  });

  it("rdma-umem R35: the offset in the page is the offset's, and must be the iova's", () => {
    expect(best([span(4 * M, 512)], 0x800n, 0x1f_0000n, ALL, 0x800n)).toBe(0x20_0000n);
    expect(best([span(4 * M, 512)], 0x400n, 0x1f_0000n, ALL, 0x800n)).toBe(0n);
  });

  it("rdma-umem R36: 0 where no supported size fits, or the region wraps", () => {
    expect(best([span(0x1000, 1)], 0x2000n, 0x1000n, 1n << 21n)).toBe(0n);
    expect(best([span(0x1000, 1)], (1n << 64n) - 0x1000n, 0x1001n)).toBe(0n);
    expect(best([span(0x1000, 1)], (1n << 64n) - 0x1000n, 0x1000n)).toBe(0x1000n);
  });

  it("compares addresses above 2^44 in full", () => {
    const high = 2 ** 50;
    expect(best([span(high, 1 << 18)], 0n, 1n << 30n)).toBe(1n << 30n);
    expect(best([{ pfn: 2 ** 33, pages: 1 }], 0n, 0x1000n, pageSizes(12, 50))).toBe(0x1000n);
    expect(
      best(
        [
          { pfn: 2 ** 33, pages: 2 ** 20 },
          { pfn: 3 * 2 ** 33, pages: 2 ** 20 },
        ],
        0n,
        1n << 33n,
        1n << 33n,
      ),
    ).toBe(0n);
  });

  it("a table of that page size leads every page of the region to its place, and the next size would not or is not needed", () => {
    const layout = fc.array(
      fc.record({ gap: fc.integer({ min: 0, max: 64 }), pages: fc.integer({ min: 1, max: 64 }) }),
      { minLength: 1, maxLength: 8 },
    );
    fc.assert(
      fc.property(layout, fc.nat(256), fc.nat(256), (parts, base, virtPage) => {
        let at = base;
        const spans = parts.map(({ gap, pages }) => {
          at += gap;
          const one = { pfn: at, pages };
          at += pages;
          return one;
        });
        const total = spans.reduce((sum, { pages }) => sum + pages, 0);
        const virt = BigInt(virtPage) << 12n;
        const size = best(spans, virt, BigInt(total) << 12n);
        expect(isUsable(spans, virtPage, Number(size >> 12n))).toBe(true);
        const twice = Number(size >> 12n) * 2;
        const needless = coveredBy(virtPage, total, Number(size >> 12n));
        expect(needless || twice > 1 << 18 || !isUsable(spans, virtPage, twice)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});

/** Builds the device's table page by page, and looks every page of the region up in it. */
function isUsable(
  spans: readonly { readonly pfn: number; readonly pages: number }[],
  virt: number,
  pageSize: number,
): boolean {
  const table = new Map<number, number>();
  let va = virt;
  for (const { pfn, pages } of spans) {
    for (let i = 0; i < pages; i++, va++) {
      const block = Math.floor(va / pageSize);
      const start = pfn + i - (va % pageSize);
      if (start % pageSize !== 0 || (table.get(block) ?? start) !== start) return false;
      table.set(block, start);
    }
  }
  return true;
}

/** True where one page of that size spans the region. */
function coveredBy(virt: number, pages: number, pageSize: number): boolean {
  return Math.floor(virt / pageSize) === Math.floor((virt + pages - 1) / pageSize);
}
