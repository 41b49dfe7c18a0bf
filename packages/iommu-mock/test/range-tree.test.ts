import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ANCHOR } from "../src/range-nodes.js";
import { RangeTree } from "../src/range-tree.js";

/** The same, as a sorted array: slow and plain. */
class Plain {
  ranges: { low: number; length: number; value: number }[] = [];

  /** Holes as [start, end). */
  holes(): [number, number][] {
    const holes: [number, number][] = [];
    let at = 0;
    for (const { low, length } of this.ranges) {
      holes.push([at, low]);
      at = low + length;
    }
    holes.push([at, ANCHOR]);
    return holes;
  }

  topDown(bound: number, low: number, size: number, align: number): number {
    for (const [start, end] of this.holes().reverse()) {
      const base = Math.floor((Math.min(end, bound) - size) / align) * align;
      if (base >= Math.max(start, low) && base >= 0) return base;
    }
    return -1;
  }

  bottomUp(low: number, bound: number, size: number, align: number, within: number): number {
    for (const [start, end] of this.holes()) {
      const base = Math.ceil(Math.max(start, low) / align) * align + within;
      if (base + size <= Math.min(end, bound)) return base;
    }
    return -1;
  }

  insert(low: number, length: number, value: number): void {
    this.ranges.push({ low, length, value });
    this.ranges.sort((a, b) => a.low - b.low);
  }
}

const power = fc.integer({ min: 0, max: 8 }).map((log2) => 2 ** log2);
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("top" as const),
      size: fc.integer({ min: 1, max: 200 }),
      align: power,
      bound: fc.integer({ min: 1, max: 40_000 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("bottom" as const),
      size: fc.integer({ min: 1, max: 200 }),
      align: power,
      low: fc.integer({ min: 0, max: 40_000 }),
    }),
  },
  { weight: 7, arbitrary: fc.record({ kind: fc.constant("remove" as const), pick: fc.nat() }) },
);

describe("the range tree", () => {
  it("agrees with a sorted array over random histories, long enough for three levels", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1200 }),
        fc.array(step, { minLength: 200, maxLength: 2500 }),
        (fill, steps) => {
          const tree = new RangeTree(true);
          const plain = new Plain();
          for (let i = 0; i < fill; i++) {
            // A scattered but reproducible order.
            const low = ((i * 7919) % 1201) * 30 + 5;
            tree.insert(low, 12, i);
            plain.insert(low, 12, i);
          }
          let value = 10_000;
          for (const one of steps) {
            if (one.kind === "top") {
              const found = tree.topDown(one.bound, 1, one.size, one.align);
              expect(found).toBe(plain.topDown(one.bound, 1, one.size, one.align));
              if (found >= 0) {
                tree.insertHere(found, one.size, ++value);
                plain.insert(found, one.size, value);
              }
            } else if (one.kind === "bottom") {
              const within = one.align > 4 ? 0.5 : 0;
              const found = tree.bottomUp(one.low, 50_000, one.size, one.align, within);
              expect(found).toBe(plain.bottomUp(one.low, 50_000, one.size, one.align, within));
              if (found >= 0) {
                tree.insert(found, one.size, ++value);
                plain.insert(found, one.size, value);
              }
            } else if (plain.ranges.length > 0) {
              const index = one.pick % plain.ranges.length;
              const range = plain.ranges[index] ?? expect.unreachable();
              expect(tree.find(range.low + range.length - 1)).toBe(true);
              expect([tree.low, tree.length, tree.value]).toEqual([
                range.low,
                range.length,
                range.value,
              ]);
              expect(tree.lowAbove).toBe(plain.ranges[index + 1]?.low ?? ANCHOR);
              tree.remove();
              plain.ranges.splice(index, 1);
              expect(tree.find(range.low)).toBe(false);
            }
          }
          expect(tree.size).toBe(plain.ranges.length);
          for (const { low, length, value: carried } of plain.ranges) {
            expect(tree.find(low) && tree.length === length && tree.value === carried).toBe(true);
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  it("keeps lengths beyond 32 bits and fractions of a unit", () => {
    const tree = new RangeTree();
    tree.insert(10.5, 0.25);
    tree.insert(2 ** 40, 2 ** 35);
    expect(tree.find(10.7)).toBe(true);
    expect(tree.length).toBe(0.25);
    expect(tree.find(10.75)).toBe(false);
    expect(tree.find(2 ** 40 + 2 ** 35 - 1)).toBe(true);
    expect(tree.length).toBe(2 ** 35);
    tree.remove();
    expect(tree.find(2 ** 40)).toBe(false);
  });

  it("survives being filled downwards, then emptied, then filled upwards", () => {
    const tree = new RangeTree();
    for (let i = 5000; i > 0; i--) tree.insert(i * 4, 2);
    for (let i = 1; i <= 5000; i++) {
      expect(tree.find(i * 4 + 1)).toBe(true);
      tree.remove();
    }
    expect(tree.size).toBe(0);
    expect(tree.topDown(ANCHOR, 0, 8, 8)).toBe(ANCHOR - 8);
    for (let i = 0; i < 5000; i++) tree.insert(tree.bottomUp(0, ANCHOR, 3, 1, 0), 3);
    expect(tree.bottomUp(0, ANCHOR, 1, 1, 0)).toBe(15_000);
  });
});
