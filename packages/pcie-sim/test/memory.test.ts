import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SparseMemory } from "../src/index.js";

const SIZE = 0x4_0000;
const offset = fc.integer({ min: 0, max: SIZE - 1 });

type Step =
  | { readonly op: "write"; readonly at: number; readonly bytes: Uint8Array }
  | { readonly op: "copy"; readonly from: number; readonly to: number; readonly length: number }
  | { readonly op: "clean" };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    op: fc.constant("write" as const),
    at: offset,
    bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }),
  }),
  fc.record({
    op: fc.constant("copy" as const),
    from: fc.integer({ min: 0, max: SIZE / 2 - 1 }),
    to: fc.integer({ min: SIZE / 2, max: SIZE - 1 }),
    length: fc.integer({ min: 1, max: 0x1_8000 }),
  }),
  fc.constant({ op: "clean" as const }),
);

describe("sparse memory", () => {
  it("agrees with a plain array, byte by byte and page by page", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const memory = new SparseMemory(SIZE);
        const model = new Uint8Array(SIZE);
        const dirty = new Set<number>();
        const mark = (at: number, length: number): void => {
          for (let page = at >> 12; page <= (at + length - 1) >> 12; page++) dirty.add(page);
        };
        for (const one of steps) {
          if (one.op === "clean") {
            memory.clean();
            dirty.clear();
          } else if (one.op === "write") {
            const length = Math.min(one.bytes.length, SIZE - one.at);
            memory.write(one.at, one.bytes, 0, length);
            model.set(one.bytes.subarray(0, length), one.at);
            mark(one.at, length);
          } else {
            const length = Math.min(one.length, SIZE - one.to, SIZE / 2 - one.from);
            memory.copyFrom(memory, one.from, one.to, length);
            model.copyWithin(one.to, one.from, one.from + length);
            mark(one.to, length);
          }
        }
        const read = new Uint8Array(SIZE);
        memory.read(0, read, 0, SIZE);
        expect(Buffer.compare(read, model)).toBe(0);
        expect(memory.dirtyPages()).toEqual([...dirty].sort((a, b) => a - b));
        const other = new SparseMemory(SIZE);
        other.write(0, model, 0, SIZE);
        expect(other.checksum()).toBe(memory.checksum());
      }),
      { numRuns: 60 },
    );
  });

  it("different contents give different sums, the same contents elsewhere too", () => {
    const a = new SparseMemory(SIZE);
    const b = new SparseMemory(SIZE);
    a.write(0, Uint8Array.of(1), 0, 1);
    b.write(0x1_0000, Uint8Array.of(1), 0, 1);
    expect(a.checksum()).not.toBe(b.checksum());
    expect(a.checksum()).not.toBe(new SparseMemory(SIZE).checksum());
  });
});
