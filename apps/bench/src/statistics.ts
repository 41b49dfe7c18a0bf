/** The value below which the share `q` of the numbers lies, between neighbours in proportion; NaN of none. */
export function quantile(numbers: readonly number[], q: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

export function median(numbers: readonly number[]): number {
  return quantile(numbers, 0.5);
}

/** Half the way from the lower to the upper quartile, as a share of the median: what a value may be off by. */
export function spread(numbers: readonly number[]): number {
  return (quantile(numbers, 0.75) - quantile(numbers, 0.25)) / 2 / median(numbers);
}

/**
 * Two-sided p of the Mann-Whitney U test: how likely samples of one kind differ as much as these two in rank. It asks nothing of the shape of
 * the noise, which for times is skewed. Exact; a tie counts half, which makes p a little too large at most by rounding up.
 */
export function mannWhitney(a: readonly number[], b: readonly number[]): number {
  if (a.length === 0 || b.length === 0) return 1;
  let above = 0;
  for (const x of a) for (const y of b) above += x > y ? 1 : x === y ? 0.5 : 0;
  const far = Math.ceil(Math.min(above, a.length * b.length - above));
  const ways = waysBelow(a.length, b.length);
  const all = ways.reduce((sum, n) => sum + n, 0);
  const tail = ways.slice(0, far + 1).reduce((sum, n) => sum + n, 0);
  return Math.min(1, (2 * tail) / all);
}

/** The smallest p that so many samples against so many can have: all of one side beyond all of the other. */
export function fewestP(a: number, b: number): number {
  let orders = 1;
  for (let i = 1; i <= a; i++) orders = (orders * (b + i)) / i;
  return Math.min(1, 2 / orders);
}

/** For each U, in how many orders of n and m samples it comes out: the usual recursion on which side the largest is from. */
function waysBelow(n: number, m: number): readonly number[] {
  const table = new Map<string, readonly number[]>();
  const ways = (i: number, j: number): readonly number[] => {
    if (i === 0 || j === 0) return [1];
    const key = `${String(i)},${String(j)}`;
    const known = table.get(key);
    if (known !== undefined) return known;
    const [without, withIt] = [ways(i, j - 1), ways(i - 1, j)];
    const sums = Array.from(
      { length: i * j + 1 },
      (_, u) => (without[u] ?? 0) + (withIt[u - j] ?? 0),
    );
    table.set(key, sums);
    return sums;
  };
  return ways(n, m);
}

/** A power law through points. */
export interface Fit {
  /** k of cost = c * size^k: 0 is flat, 1 linear, 2 quadratic. */
  readonly exponent: number;
  readonly factor: number;
  /** Share of the variation in the logarithms that the law explains; 1 where there is none. */
  readonly r2: number;
}

/**
 * Least squares through the logarithms.
 *
 * @throws RangeError with fewer than two sizes, or where a number is not above 0.
 */
export function fitPower(points: readonly { readonly size: number; readonly cost: number }[]): Fit {
  if (points.some(({ size, cost }) => !(size > 0 && cost > 0)))
    throw new RangeError("a power law needs sizes and costs above 0");
  if (new Set(points.map(({ size }) => size)).size < 2)
    throw new RangeError("a power law needs two sizes at least");
  const xs = points.map(({ size }) => Math.log(size));
  const ys = points.map(({ cost }) => Math.log(cost));
  const [mx, my] = [mean(xs), mean(ys)];
  const xx = mean(xs.map((x) => (x - mx) ** 2));
  const xy = mean(xs.map((x, i) => (x - mx) * ((ys[i] ?? 0) - my)));
  const yy = mean(ys.map((y) => (y - my) ** 2));
  const exponent = xy / xx;
  return {
    exponent,
    factor: Math.exp(my - exponent * mx),
    r2: yy < 1e-12 ? 1 : (xy * xy) / (xx * yy),
  };
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, n) => sum + n, 0) / numbers.length;
}
