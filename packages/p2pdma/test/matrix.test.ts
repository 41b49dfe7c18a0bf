import { describe, expect, it } from "vitest";
import { ENDPOINTS_PER_ROOT, generateFleet, matrix, P2pdma } from "../src/index.js";

/** Processor time in milliseconds: other work on the machine does not count. */
function cost(run: () => unknown): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

describe("matrix of all ordered pairs", () => {
  const small = generateFleet({ roots: 4, acs: "mixed" });
  const large = generateFleet({ roots: 64, acs: "mixed" });
  const all = (topology: typeof small) => () => matrix(new P2pdma(topology)).counts();

  it("4,096 endpoints take less than 2 s, and a pair at most twice what it takes among 256", () => {
    expect(large.endpoints()).toHaveLength(64 * ENDPOINTS_PER_ROOT);
    expect(small.endpoints()).toHaveLength(4 * ENDPOINTS_PER_ROOT);
    // Warm up, then the best of some runs.
    all(large)();
    const best = (times: number, run: () => unknown): number =>
      Math.min(...Array.from({ length: times }, () => cost(run)));
    const time = best(3, all(large));
    expect(time).toBeLessThan(2000);
    const each = time / 4096 ** 2;
    const eachOfFew =
      best(20, () => {
        for (let n = 0; n < 16; n += 1) all(small)();
      }) /
      (16 * 256 ** 2);
    expect(each).toBeLessThan(2 * eachOfFew);
  });

  it("counts every pair once", () => {
    const {
      "bus-addr": bus,
      "thru-host-bridge": thru,
      "not-supported": no,
      unknown,
    } = all(large)();
    expect(bus + thru + no + unknown).toBe(4096 ** 2);
    expect(unknown).toBe(0);
    expect(bus).toBeGreaterThan(4096);
  });

  it("members in one class share a class number, others do not", () => {
    const pairs = matrix(new P2pdma(small));
    const classes = new Set(Array.from({ length: pairs.size }, (_, row) => pairs.classAt(row)));
    // On each root bus the first device, and one class for each of eight ports.
    expect(classes.size).toBe(4 * 9);
    expect(pairs.codeAt(3, 3)).toBe(3);
    expect(pairs.decisionAt(0, 1).distance).toBe(pairs.distanceAt(0, 1));
  });

  it("a function named twice is itself in both places", () => {
    const pairs = matrix(new P2pdma(small), ["0000:03:00.0", "0000:03:00.0"]);
    expect([pairs.mapTypeAt(0, 1), pairs.distanceAt(0, 1)]).toEqual(["bus-addr", 0]);
  });
});
