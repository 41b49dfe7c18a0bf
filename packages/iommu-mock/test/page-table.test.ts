import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  IoPageTable,
  PageMemory,
  type PageTableFormatName,
  PROT_CACHE,
  PROT_MMIO,
  PROT_READ,
  PROT_WRITE,
  pageTableFormat,
  pageTableFormats,
} from "../src/index.js";
import { codeOf } from "./fixtures.js";

const RW = PROT_READ | PROT_WRITE;
const names = Object.keys(pageTableFormats) as PageTableFormatName[];
const GIB = 1 << 18;
const MIB2 = 512;

function table(name: PageTableFormatName = "x86-64", memory = new PageMemory()): IoPageTable {
  return new IoPageTable(pageTableFormat(name), memory);
}

function at(pages: IoPageTable, iova: number): [number, number] | undefined {
  const out = { pfn: 0, prot: 0 };
  return pages.lookup(iova, 1, out) === 0 ? undefined : [out.pfn, out.prot];
}

describe("page sizes", () => {
  it.each([
    // [format, iova, phys, pages, table pages beside the top]
    ["x86-64", GIB, GIB, GIB, 1],
    ["x86-64", GIB, 2 * MIB2, GIB, 2],
    ["x86-64", MIB2, 7 * MIB2, MIB2, 2],
    ["x86-64", MIB2, 7, MIB2, 3],
    ["x86-64-5level", GIB, GIB, GIB, 2],
    ["arm-64-4k", GIB, GIB, GIB, 1],
    // 8 KiB is one page of AMD v1, so is 4 GiB: two levels below the top for the first, none for the second.
    ["amd-v1", 2, 2, 2, 2],
    ["amd-v1", 4 * GIB, 4 * GIB, 4 * GIB, 0],
  ] as const)("%s maps %i to %i, %i pages, with %i tables", (name, iova, phys, pages, expected) => {
    const one = table(name);
    one.map(iova, phys, pages, RW);
    expect(one.tablePages - 1).toBe(expected);
    expect(at(one, iova + pages - 1)?.[0]).toBe(phys + pages - 1);
    expect(at(one, iova + pages)).toBeUndefined();
    expect(one.unmap(iova, pages)).toBe(pages);
    expect(one.tablePages).toBe(1);
  });

  it("uses every power of two that fits, in AMD v1", () => {
    const one = table("amd-v1");
    // 1, 2, 4, 8 from 1 on; then one more page.
    one.map(1, 1, 16, RW);
    expect(one.covers(1, 1)).toBe(true);
    expect(one.covers(2, 2)).toBe(true);
    expect(one.covers(8, 4)).toBe(false);
    expect(one.covers(8, 8)).toBe(true);
    expect(one.covers(16, 1)).toBe(true);
  });

  it("grows AMD v1 upwards and shrinks it again", () => {
    const one = table("amd-v1");
    one.map(5, 9, 1, RW);
    const before = one.tablePages;
    one.map(2 ** 51, 77, 1, RW);
    expect(at(one, 5)).toEqual([9, RW]);
    expect(at(one, 2 ** 51)).toEqual([77, RW]);
    one.unmap(2 ** 51, 1);
    expect(one.tablePages).toBe(before);
    expect(at(one, 5)).toEqual([9, RW]);
  });
});

describe("a map that cannot be", () => {
  it.each([
    ["x86-64", "EADDRINUSE"],
    ["amd-v1", "EADDRINUSE"],
    ["iommufd-selftest", "EADDRINUSE"],
    ["arm-64-4k", "EEXIST"],
  ] as const)(
    "over an entry is refused in %s with %s, and nothing of it stays (dma-iova R9)",
    (name, code) => {
      const one = table(name);
      const base = 0x4000;
      one.map(base + 700, 5, 1, RW);
      const { tablePages, mappedPages } = one;
      expect(
        codeOf(() => {
          one.map(base, 0x8000, 1024, RW);
        }),
      ).toBe(code);
      expect(
        codeOf(() => {
          one.map(base + 512, 0x8000, 512, RW);
        }),
      ).toBe(code);
      expect([one.tablePages, one.mappedPages]).toEqual([tablePages, mappedPages]);
      expect(at(one, base)).toBeUndefined();
      expect(at(one, base + 699)).toBeUndefined();
      expect(at(one, base + 700)).toEqual([5, RW]);
    },
  );

  it("under a large page is refused too (dma-iova R9)", () => {
    const one = table();
    one.map(MIB2, 0, MIB2, RW);
    expect(
      codeOf(() => {
        one.map(MIB2 + 5, 9, 1, RW);
      }),
    ).toBe("EADDRINUSE");
    expect(at(one, MIB2 + 5)).toEqual([5, RW]);
  });

  it("needs a permission, at least one page, and addresses the format has", () => {
    const one = table();
    expect(
      codeOf(() => {
        one.map(1, 1, 1, PROT_MMIO);
      }),
    ).toBe("EINVAL");
    expect(
      codeOf(() => {
        one.map(1, 1, 0, RW);
      }),
    ).toBe("EINVAL");
    expect(
      codeOf(() => {
        one.map(2 ** 36 - 1, 1, 2, RW);
      }),
    ).toBe("ERANGE");
    expect(
      codeOf(() => {
        one.map(1, 2 ** 40, 1, RW);
      }),
    ).toBe("ERANGE");
    expect(
      codeOf(() => {
        one.map(Number.NaN, 1, 1, RW);
      }),
    ).toBe("ERANGE");
    expect(
      codeOf(() => {
        table("arm-64-4k").map(1, 2 ** 36, 1, RW);
      }),
    ).toBe("ERANGE");
    expect(one.tablePages).toBe(1);
  });

  it("gives back its tables when memory ends in the middle", () => {
    const memory = new PageMemory(4);
    const one = table("x86-64", memory);
    // Three tables for the first page, and a fourth is not there.
    expect(
      codeOf(() => {
        one.map(MIB2 - 1, 0x1001, 2, RW);
      }),
    ).toBe("ENOMEM");
    expect([memory.used, one.mappedPages]).toEqual([1, 0]);
    one.map(MIB2 - 1, 0x1001, 1, RW);
    expect(memory.used).toBe(4);
  });
});

describe("an unmap", () => {
  it("stops at the first hole", () => {
    const one = table();
    one.map(10, 20, 5, RW);
    one.map(16, 30, 5, RW);
    expect(one.unmap(10, 20)).toBe(5);
    expect(at(one, 16)).toEqual([30, RW]);
    expect(one.unmap(3, 1)).toBe(0);
  });

  it("of the head of a large page takes the whole page where the driver is generic", () => {
    const one = table();
    one.map(MIB2, 0, MIB2, RW);
    expect(one.unmap(MIB2, 1)).toBe(MIB2);
    expect(one.mappedPages).toBe(0);
  });

  /** Within every format's aperture. */
  const BASE = 0x4000;

  it.each(names)("%s: takes large pages, and a table of small ones among them", (name) => {
    const one = table(name);
    const place = (n: number): number => BASE + n * MIB2;
    for (const n of [1, 2, 4, 5]) one.map(place(n), place(n + 7), MIB2, RW);
    one.map(place(3), 0x9001, MIB2, RW);
    expect(one.unmap(place(1), 5 * MIB2)).toBe(5 * MIB2);
    expect([one.mappedPages, one.tablePages]).toEqual([0, 1]);
  });

  it.each(names)("%s: of large pages ends at a hole, and leaves what is behind it", (name) => {
    const one = table(name);
    const place = (n: number): number => BASE + n * MIB2;
    for (const n of [1, 2, 4]) one.map(place(n), place(n + 7), MIB2, RW);
    expect(one.unmap(place(1), 4 * MIB2)).toBe(2 * MIB2);
    expect(at(one, place(4))).toEqual([place(11), RW]);
    expect(one.mappedPages).toBe(MIB2);
  });

  it.each([
    ["x86-64", 2 * MIB2],
    ["arm-64-4k", MIB2],
  ] as const)("%s: of one and a half large pages takes %i small ones", (name, gone) => {
    const one = table(name);
    one.map(MIB2, 8 * MIB2, 3 * MIB2, RW);
    expect(one.unmap(MIB2, MIB2 + 100)).toBe(gone);
    expect(one.mappedPages).toBe(3 * MIB2 - gone);
    expect(at(one, MIB2 + gone)).toEqual([7 * MIB2 + MIB2 + gone, RW]);
  });

  it("of a part of a large page does nothing on Arm, and nowhere in its middle", () => {
    const arm = table("arm-64-4k");
    arm.map(MIB2, 0, MIB2, RW);
    expect(arm.unmap(MIB2, 1)).toBe(0);
    expect(arm.unmap(MIB2, MIB2)).toBe(MIB2);
    const x86 = table();
    x86.map(MIB2, 0, MIB2, RW);
    expect(x86.unmap(MIB2 + 1, 1)).toBe(0);
    expect(x86.mappedPages).toBe(MIB2);
  });
});

describe("a lookup", () => {
  it("returns runs that are contiguous and alike, across tables and page sizes", () => {
    const one = table();
    one.map(MIB2 - 2, 1000 - 2 + MIB2, 2, RW);
    one.map(MIB2, 1000 + MIB2, 3, RW);
    one.map(MIB2 + 3, 1000 + MIB2 + 3, 1, PROT_READ);
    const out = { pfn: 0, prot: 0 };
    expect(one.lookup(MIB2 - 2, 100, out)).toBe(5);
    expect(out).toEqual({ pfn: 998 + MIB2, prot: RW });
    expect(one.lookup(MIB2 + 3, 100, out)).toBe(1);
    expect(out.prot).toBe(PROT_READ);
  });

  it("keeps the attributes of each mapping", () => {
    const one = table();
    one.map(1, 1, 1, RW | PROT_MMIO);
    one.map(2, 2, 1, PROT_READ | PROT_CACHE);
    expect(at(one, 1)?.[1]).toBe(RW | PROT_MMIO);
    expect(at(one, 2)?.[1]).toBe(PROT_READ | PROT_CACHE);
  });
});

describe("random histories", () => {
  const step = fc.record({
    kind: fc.constantFrom("map", "map", "unmap"),
    iova: fc.oneof(
      fc.integer({ min: 0x4000, max: 0x4900 }),
      fc.constantFrom(0x4000, 0x4200, 0x4400),
    ),
    shift: fc.constantFrom(0, 0, 512, 1, 0x3000),
    pages: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(512, 1024, 700)),
    prot: fc.constantFrom(RW, PROT_READ, RW | PROT_MMIO),
  });

  it.each(names)("%s agrees with a plain map of pages, and leaks no table", (name) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const one = table(name);
        /** Each page with the mapping it came with: mappings go as a whole. */
        const plain = new Map<
          number,
          { phys: number; prot: number; first: number; pages: number }
        >();
        for (const { kind, iova, shift, pages, prot } of steps) {
          if (kind === "map") {
            const free = Array.from({ length: pages }, (_, i) => iova + i).every(
              (p) => !plain.has(p),
            );
            if (free) {
              one.map(iova, iova + shift, pages, prot);
              for (let i = 0; i < pages; i++) {
                plain.set(iova + i, { phys: iova + i + shift, prot, first: iova, pages });
              }
            } else
              expect(
                codeOf(() => {
                  one.map(iova, iova + shift, pages, prot);
                }),
              ).toBe(one.format.occupied);
          } else {
            const hit = plain.get(iova);
            if (hit === undefined) expect(one.unmap(iova, 1)).toBe(0);
            else {
              expect(one.covers(hit.first, hit.pages)).toBe(true);
              expect(one.unmap(hit.first, hit.pages)).toBe(hit.pages);
              for (let i = 0; i < hit.pages; i++) plain.delete(hit.first + i);
            }
          }
        }
        expect(one.mappedPages).toBe(plain.size);
        const wrong = Array.from({ length: 0xe10 }, (_, i) => 0x3ff0 + i).filter((page) => {
          const expected = plain.get(page);
          const found = at(one, page);
          return found?.[0] !== expected?.phys || found?.[1] !== expected?.prot;
        });
        expect(wrong).toEqual([]);
        for (const { first, pages } of [...plain.values()]) {
          if (plain.delete(first)) one.unmap(first, pages);
        }
        expect([one.mappedPages, one.tablePages]).toEqual([0, 1]);
      }),
      { numRuns: 40 },
    );
  });

  const cut = fc.record({
    kind: fc.constantFrom("map", "unmap"),
    iova: fc.integer({ min: 0x4000, max: 0x4440 }),
    // Odd, so that nothing but the smallest page fits, and often one that continues a neighbour.
    shift: fc.constantFrom(1, 1, 1, 0x3001, -0x3fff),
    pages: fc.oneof(fc.constantFrom(1, 2, 31, 32, 33, 64), fc.integer({ min: 1, max: 700 })),
    prot: fc.constantFrom(RW, RW, PROT_READ),
  });

  it.each(names)("%s may be cut anywhere in a run of small pages", (name) => {
    fc.assert(
      fc.property(fc.array(cut, { maxLength: 80 }), (steps) => {
        const one = table(name);
        const plain = new Map<number, { phys: number; prot: number }>();
        for (const { kind, iova, shift, pages, prot } of steps) {
          let mapped = 0;
          while (mapped < pages && plain.has(iova + mapped)) mapped += 1;
          if (kind === "unmap") {
            expect(one.unmap(iova, pages)).toBe(mapped);
            for (let i = 0; i < mapped; i++) plain.delete(iova + i);
          } else {
            let free = 0;
            while (free < pages && !plain.has(iova + free)) free += 1;
            const map = (): void => {
              one.map(iova, iova + shift, pages, prot);
            };
            if (free < pages) expect(codeOf(map)).toBe(one.format.occupied);
            else {
              map();
              for (let i = 0; i < pages; i++) plain.set(iova + i, { phys: iova + i + shift, prot });
            }
          }
        }
        expect(one.mappedPages).toBe(plain.size);
        const out = { pfn: 0, prot: 0 };
        for (let page = 0x3ff0; page < 0x4800; page++) {
          const expected = plain.get(page);
          let run = 0;
          for (let at = expected; at !== undefined; at = plain.get(page + run)) {
            if (at.phys !== (expected?.phys ?? 0) + run || at.prot !== expected?.prot) break;
            run += 1;
          }
          expect(one.lookup(page, 10_000, out)).toBe(run);
          if (expected !== undefined)
            expect(out).toEqual({ pfn: expected.phys, prot: expected.prot });
        }
        for (const page of plain.keys()) one.unmap(page, 1);
        expect([one.mappedPages, one.tablePages]).toEqual([0, 1]);
      }),
      { numRuns: 40 },
    );
  });

  it("a table that grows while its top is the level below keeps nothing of it", () => {
    const one = table("amd-v1");
    // The empty top of three levels is remembered as the table for low addresses, then becomes the top of six.
    expect(at(one, 5)).toBeUndefined();
    one.map(2 ** 51, 0, 2 ** 30, RW);
    expect(at(one, 5)).toBeUndefined();
    one.map(5, 9, 1, RW);
    one.map(2 ** 50, 3, 1, RW);
    expect([at(one, 5), at(one, 2 ** 51), at(one, 2 ** 50)]).toEqual([
      [9, RW],
      [0, RW],
      [3, RW],
    ]);
    expect([one.unmap(2 ** 51, 2 ** 30), one.unmap(5, 1), one.unmap(2 ** 50, 1)]).toEqual([
      2 ** 30,
      1,
      1,
    ]);
    expect(one.tablePages).toBe(1);
  });
});
