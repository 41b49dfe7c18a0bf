import { describe, expect, it } from "vitest";
import { RangeTree } from "../src/range-tree.js";

/** A small generator with a seed that the title shows. */
function numbers(seed: number): (below: number) => number {
  let x = (seed * 2_654_435_761) >>> 1;
  return (below) => {
    x = (Math.imul(x, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return Math.floor(x / 64) % below;
  };
}

describe("the range tree over long histories", () => {
  it.each([1, 2, 3, 1000, 5000, 77])("finds every range by its last unit, seed %i", (seed) => {
    const next = numbers(seed);
    const tree = new RangeTree(true);
    const live: { low: number; size: number }[] = [];
    const add = (low: number, size: number): void => {
      if (low >= 0) live.push({ low, size });
    };
    for (let step = 0; step < 6000; step++) {
      const [kind, size, align, bound] = [next(17), 1 + next(200), 2 ** next(9), 1 + next(60_000)];
      if (kind < 6 || live.length < 50) {
        const low = tree.topDown(bound, 1, size, align);
        if (low >= 0) tree.insertHere(low, size, 1);
        add(low, size);
      } else if (kind < 9) {
        const low = tree.bottomUp(bound, 70_000, size, align, align > 4 ? 0.5 : 0);
        if (low >= 0) tree.insert(low, size, 2);
        add(low, size);
      } else {
        const at = next(live.length);
        const { low, size: length } = live[at] ?? expect.unreachable();
        if (!tree.find(low + length - 1) || tree.low !== low || tree.length !== length) {
          expect.unreachable(`step ${step}: ${low} + ${length} is lost`);
        }
        tree.remove();
        live[at] = live[live.length - 1] ?? expect.unreachable();
        live.pop();
      }
    }
    expect(tree.size).toBe(live.length);
    live.sort((a, b) => a.low - b.low);
    live.forEach(({ low, size }, i) => {
      const before = live[i - 1];
      expect(before === undefined || before.low + before.size <= low).toBe(true);
      expect(tree.find(low + size - 1) && tree.low === low).toBe(true);
    });
  });
});
