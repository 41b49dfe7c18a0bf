import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_SEGMENT_BYTES, type PageSpan, ScatterTable } from "../src/index.js";
import { errorOf } from "./fixtures/expect-error.js";

const GiB = 1n << 30n;

describe("a scatter table", () => {
  it("splits spans at 0xFFFFF000 bytes and never merges neighbours", () => {
    expect(MAX_SEGMENT_BYTES).toBe(0xffff_f000);
    const pages = Number((8n * GiB) >> 12n);
    const table = ScatterTable.fromSpans("bus", [
      { pfn: 16, pages },
      { pfn: 16 + pages, pages: 1 },
    ]);
    expect([...table]).toEqual([
      { address: 0x1_0000n, length: 0xffff_f000 },
      { address: 0x1_0000n + 0xffff_f000n, length: 0xffff_f000 },
      { address: 0x1_0000n + 2n * 0xffff_f000n, length: 0x2000 },
      { address: 0x1_0000n + 8n * GiB, length: 0x1000 },
    ]);
    expect(table.size).toBe(8n * GiB + 4096n);
  });

  it("has exact sizes and addresses beyond 2^53 bytes", () => {
    const entries = 4096;
    const longest = 0xffff_ffff;
    const pfns = Float64Array.from({ length: entries }, (_, i) => 2 ** 51 + i * longest);
    const table = new ScatterTable("iova", pfns, new Uint32Array(entries).fill(longest));
    const size = BigInt(entries) * BigInt(longest) * 4096n;
    expect([table.entries, table.totalPages, table.size]).toEqual([
      entries,
      entries * longest,
      size,
    ]);
    expect(size > 1n << 53n).toBe(true);
    expect(table.locate(size - 1n)).toEqual({ address: (1n << 63n) + size - 1n, length: 1 });
    const odd = (1n << 54n) + 4097n;
    expect(table.locate(odd).address).toBe((1n << 63n) + odd);
  });

  it("refuses what is no list, and arrays that do not match", () => {
    const wrong: PageSpan[][] = [
      [],
      [{ pfn: 0, pages: 0 }],
      [{ pfn: 0, pages: -1 }],
      [{ pfn: 0, pages: Number.NaN }],
    ];
    for (const spans of wrong)
      expect(errorOf(() => ScatterTable.fromSpans("bus", spans))?.code).toBe("EINVAL");
    expect(
      errorOf(() => new ScatterTable("bus", new Float64Array(2), new Uint32Array(1)))?.code,
    ).toBe("EINVAL");
  });

  it("throws RangeError outside itself", () => {
    const table = ScatterTable.fromSpans("bus", [{ pfn: 1, pages: 2 }]);
    for (const offset of [-1n, 0x2000n]) expect(() => table.locate(offset)).toThrow(RangeError);
    for (const index of [-1, 1, 0.5]) expect(() => table.entry(index)).toThrow(RangeError);
    const slices = [
      [-1, 1],
      [0, 0],
      [0, 3],
      [2, 1],
      [0.5, 1],
      [0, Number.NaN],
    ] as const;
    for (const [first, count] of slices)
      expect(() => table.slice(first, count)).toThrow(RangeError);
  });

  it("is sliced without copying, page for page what the table has", () => {
    const spans = fc.array(
      fc.record({ pfn: fc.nat(1 << 20), pages: fc.integer({ min: 1, max: 9 }) }),
      {
        minLength: 1,
        maxLength: 6,
      },
    );
    fc.assert(
      fc.property(spans, fc.nat(), fc.nat(), (list, a, b) => {
        const table = ScatterTable.fromSpans("bus", list);
        const all = list.flatMap(({ pfn, pages }) =>
          Array.from({ length: pages }, (_, i) => pfn + i),
        );
        const first = a % all.length;
        const count = 1 + (b % (all.length - first));
        const slice = table.slice(first, count);
        expect(slice.table.pfns).toBe(table.pfns);
        const seen: number[] = [];
        for (const { address, length } of slice) {
          for (let at = 0; at < length; at += 4096)
            seen.push(Number((address + BigInt(at)) >> 12n));
        }
        expect(seen).toEqual(all.slice(first, first + count));
        const at = BigInt(first) * 4096n + 5n;
        expect(table.locate(at).address).toBe(BigInt(all[first] ?? -1) * 4096n + 5n);
        // Entry by entry, from its middle: nothing of the table beside the slice is told of.
        let start = 0n;
        for (const { address, length } of slice) {
          const into = BigInt(length >> 1) + 5n;
          expect(slice.locate(start + into)).toEqual({
            address: address + into,
            length: length - Number(into),
          });
          start += BigInt(length);
        }
        expect(slice.size).toBe(start);
        for (const outside of [-1n, start]) expect(() => slice.locate(outside)).toThrow(RangeError);
      }),
      { numRuns: 1000 },
    );
  });
});
