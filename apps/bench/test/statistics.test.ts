import fc from "fast-check";
import { expect, test } from "vitest";
import { fitPower, mannWhitney, median, quantile, spread } from "../src/statistics.js";

test("quantiles lie between neighbours in proportion", () => {
  expect([quantile([4, 1, 3, 2], 0), quantile([4, 1, 3, 2], 1)]).toEqual([1, 4]);
  expect([median([4, 1, 3, 2]), median([9, 1, 5])]).toEqual([2.5, 5]);
  expect(quantile([0, 10], 0.25)).toBe(2.5);
  expect(median([])).toBeNaN();
});

test("the spread is half the middle half of the values, as a share of the median", () => {
  expect(spread([10, 10, 10])).toBe(0);
  expect(spread([8, 9, 10, 11, 12])).toBeCloseTo(0.1);
});

test("Mann-Whitney agrees with counting every order by hand", () => {
  // 3 and 3 apart: one order of C(6,3) = 20 at each end.
  expect(mannWhitney([1, 2, 3], [4, 5, 6])).toBeCloseTo(2 / 20);
  expect(mannWhitney([4, 5, 6], [1, 2, 3])).toBeCloseTo(2 / 20);
  // 5 and 5 apart: C(10,5) = 252. The fewest rounds with which p < 0.01 can be had.
  expect(mannWhitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10])).toBeCloseTo(2 / 252);
  // One exchanged: U = 1, two orders at or beyond it on each side.
  expect(mannWhitney([1, 2, 4], [3, 5, 6])).toBeCloseTo(4 / 20);
});

test("equal samples are no difference, and nothing is compared with nothing", () => {
  expect(mannWhitney([1, 1, 1], [1, 1, 1])).toBe(1);
  expect(mannWhitney([], [1])).toBe(1);
});

test("samples of one distribution differ significantly no more often than the p says", () => {
  const sample = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), {
    minLength: 7,
    maxLength: 7,
  });
  let significant = 0;
  const runs = 400;
  fc.assert(
    fc.property(sample, sample, (a, b) => {
      const p = mannWhitney(a, b);
      expect(p).toBeGreaterThan(0);
      expect(p).toBeLessThanOrEqual(1);
      expect(mannWhitney(b, a)).toBeCloseTo(p);
    }),
    { numRuns: runs },
  );
  // A plain generator for the rate: fast-check's own numbers are not evenly spread.
  let state = 1;
  const next = (): number => {
    state = (state * 16807) % 2147483647;
    return state / 2147483647;
  };
  for (let i = 0; i < 2000; i++) {
    const [a, b] = [Array.from({ length: 7 }, next), Array.from({ length: 7 }, next)];
    if (mannWhitney(a, b) < 0.05) significant += 1;
  }
  expect(significant / 2000).toBeLessThan(0.06);
});

test("a power law is found again, with and without noise", () => {
  const law = (k: number, noise: (i: number) => number) =>
    fitPower(
      [100, 1_000, 10_000, 100_000].map((size, i) => ({ size, cost: 3 * size ** k * noise(i) })),
    );
  for (const k of [0, 0.5, 1, 2]) {
    const { exponent, factor, r2 } = law(k, () => 1);
    expect(exponent).toBeCloseTo(k);
    expect(factor).toBeCloseTo(3);
    expect(r2).toBeCloseTo(1);
  }
  const noisy = law(1, (i) => (i % 2 === 0 ? 1.1 : 0.9));
  expect(Math.abs(noisy.exponent - 1)).toBeLessThan(0.05);
  expect(noisy.r2).toBeGreaterThan(0.99);
  expect(noisy.r2).toBeLessThan(1);
});

test("a power law is not fitted through one size, or nothing", () => {
  expect(() => fitPower([{ size: 1, cost: 1 }])).toThrow(RangeError);
  expect(() =>
    fitPower([
      { size: 5, cost: 1 },
      { size: 5, cost: 2 },
    ]),
  ).toThrow(RangeError);
  expect(() =>
    fitPower([
      { size: 1, cost: 0 },
      { size: 2, cost: 1 },
    ]),
  ).toThrow(RangeError);
});
