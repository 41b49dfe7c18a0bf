import { readFileSync } from "node:fs";
import {
  generateFleet,
  matrix,
  P2pdma,
  type PciFunctionInfo,
  parseTopology,
} from "@peerbar/p2pdma";
import { Machine } from "@peerbar/pcie-sim";
import type { BenchCase, GrowthSeries, Operation, Skipped } from "../case.js";
import { capture, LARGE_DUMP, listing } from "../inputs.js";

function largeDump(): string | Skipped {
  const path = capture(LARGE_DUMP);
  return typeof path === "string" ? readFileSync(path, "utf8") : path;
}

const parseDump: BenchCase = {
  id: "topology/parse-h800",
  setup() {
    const text = largeDump();
    if (typeof text !== "string") return text;
    return {
      run: () => parseTopology(text, { name: "dump" }),
      yardstick: () => {
        let found = 0;
        for (const line of text.split("\n")) if (/^[0-9a-f]{2}:/.test(line)) found += 1;
        return found;
      },
      batch: 1,
    };
  },
};

const buildMachine: BenchCase = {
  id: "topology/machine-h800",
  setup() {
    const text = largeDump();
    if (typeof text !== "string") return text;
    const topology = parseTopology(text, { name: "dump" });
    return {
      run: () => Machine.from(topology),
      yardstick: () => parseTopology(text, { name: "dump" }),
      batch: 1,
    };
  },
};

/** The answers of all ordered pairs, and one sum over them so that nothing is left out. */
function sumOfPairs(p2pdma: P2pdma, endpoints: readonly PciFunctionInfo[]): number {
  const all = matrix(p2pdma, endpoints);
  let sum = 0;
  for (let row = 0; row < all.size; row++) {
    for (let column = 0; column < all.size; column++) sum += all.codeAt(row, column);
  }
  return sum;
}

/** All ordered pairs of a generated node. */
function allPairs(roots: number): { readonly pairs: number; readonly run: Operation } {
  const fleet = generateFleet({ roots });
  const p2pdma = new P2pdma(fleet, { cpu: "intel" });
  const endpoints = fleet.endpoints();
  return { pairs: endpoints.length ** 2, run: () => sumOfPairs(p2pdma, endpoints) };
}

/** All ordered pairs of a node with 4,096 endpoints, nothing known beforehand, against as many look-ups in a `Map`. */
const wholeNode: BenchCase = {
  id: "topology/all-pairs-4096",
  setup() {
    const fleet = generateFleet({ roots: 64 });
    const endpoints = fleet.endpoints();
    const places = new Map(endpoints.map((endpoint, place) => [endpoint, place]));
    return {
      run: () => sumOfPairs(new P2pdma(fleet, { cpu: "intel" }), endpoints),
      yardstick: () => {
        let sum = 0;
        for (const from of endpoints) {
          for (const to of endpoints) if (to !== from) sum += places.get(to) ?? 0;
        }
        return sum;
      },
      batch: 1,
    };
  },
};

/** Cost of one pair among 4,096 endpoints, against one among 256. */
const fleetPairs: BenchCase = {
  id: "topology/pairs-4096",
  setup() {
    const [large, small] = [allPairs(64), allPairs(4)];
    // Both do the same number of pairs in one operation.
    const rounds = Math.round(large.pairs / small.pairs);
    return {
      run: large.run,
      yardstick: () => {
        for (let i = 0; i < rounds; i++) small.run();
      },
      batch: 1,
    };
  },
};

/** One text, against ten texts of a tenth: the same number of lines on both sides. */
const parseGrowth: BenchCase = {
  id: "topology/parse-growth",
  setup() {
    const [large, small] = [listing(20_000), listing(2_000)];
    return {
      run: () => parseTopology(large, { name: "large" }),
      yardstick: () => {
        for (let i = 0; i < 10; i++) parseTopology(small, { name: "small" });
      },
      batch: 1,
    };
  },
};

export const topology: readonly BenchCase[] = [
  parseDump,
  parseGrowth,
  buildMachine,
  fleetPairs,
  wholeNode,
];

export const topologyGrowth: readonly GrowthSeries[] = [
  {
    id: "topology/parse",
    unit: "functions",
    // A million would be a text of 190 MB and 1.7 GB of topology: no machine has them, and a fleet is a file each.
    sizes: [100, 1_000, 10_000, 100_000],
    setup: (size) => {
      const text = listing(size);
      return { run: () => parseTopology(text, { name: "listing" }) };
    },
  },
  {
    id: "topology/all-pairs",
    unit: "endpoints",
    // 64 endpoints a root. The last has 268 million answers; those of a million endpoints would be a million million.
    sizes: [64, 256, 1_024, 4_096, 16_384],
    setup: (size) => ({ run: allPairs(size / 64).run }),
  },
];
