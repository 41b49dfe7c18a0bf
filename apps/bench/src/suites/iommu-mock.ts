import {
  IoPageTable,
  IovaAllocator,
  PROT_READ,
  PROT_WRITE,
  pageTableFormat,
} from "@peerbar/iommu-mock";
import type { BenchCase, GrowthSeries, Operation, Prepared, Program } from "../case.js";
import { counter, numbers } from "../numbers.js";
import { cYardstick } from "../yardstick.js";

const RW = PROT_READ | PROT_WRITE;
const BASE = 0x10_0000;
const POPULATED = 1 << 18;
const GIB_PAGES = 1 << 18;
/** Longer than the per-size caches reach, so that every allocation goes to the tree (dma-iova R20). */
const TREE_GRANULES = 64;
const IOVA_LIMIT = 2 ** 36;

/** A domain with every other page of a stretch mapped, as the C yardstick has. */
function populated(pages = POPULATED): IoPageTable {
  const table = new IoPageTable(pageTableFormat("x86-64"));
  for (let i = 0; i < pages; i++) table.map(BASE + 2 * i, i, 1, RW);
  return table;
}

/** Pairs in one call, as the C program has its loop inside. */
const PAIRS = 1000;

/** Maps and unmaps one page: one gap after the other, as an allocator hands them out, or in random gaps. */
function onePage(table: IoPageTable, order: "in order" | "random"): Operation {
  const next = order === "random" ? numbers(1) : counter();
  return () => {
    for (let frame = 0; frame < PAIRS; frame++) {
      const iova = BASE + 1 + 2 * (next() & (POPULATED - 1));
      table.map(iova, frame, 1, RW);
      table.unmap(iova, 1);
    }
  };
}

const FAR = 0x400_0000;

/** Maps and unmaps `pages` at once, aligned. A neighbour keeps the tables, so that neither side pays for making them. */
function run(table: IoPageTable, pages: number): Operation {
  if (!table.covers(FAR + pages, 1)) table.map(FAR + pages, 1, 1, RW);
  return () => {
    for (let i = 0; i < PAIRS; i++) {
      table.map(FAR, 0x800_0000, pages, RW);
      table.unmap(FAR, pages);
    }
  };
}

/** A case with {@link PAIRS} operations on either side. */
function pairs(run: Operation, yardstick: Operation | Program): Prepared {
  return { run, yardstick, batch: 1, perRun: PAIRS, perYardstick: PAIRS };
}

const mapOnePage: BenchCase = {
  id: "iommu-mock/map-unmap-4k",
  setup() {
    const yardstick = cYardstick("radix");
    if ("skipped" in yardstick) return yardstick;
    return pairs(onePage(populated(), "in order"), yardstick);
  },
};

/** Every access misses the CPU's caches; compiled C overlaps the misses of many rounds. */
const mapOnePageRandom: BenchCase = {
  id: "iommu-mock/map-unmap-4k-random",
  setup() {
    const yardstick = cYardstick("radix", "random");
    if ("skipped" in yardstick) return yardstick;
    return pairs(onePage(populated(), "random"), yardstick);
  },
};

const map256: BenchCase = {
  id: "iommu-mock/map-256-pages",
  setup() {
    const table = populated();
    return pairs(run(table, 256), onePage(table, "in order"));
  },
};

const mapGiB: BenchCase = {
  id: "iommu-mock/map-1gib",
  setup() {
    const table = populated();
    return pairs(run(table, GIB_PAGES), onePage(table, "in order"));
  },
};

/** An allocator with `live` ranges, holes of random places among them. */
function crowded(live: number): { readonly allocator: IovaAllocator; readonly held: Float64Array } {
  const allocator = new IovaAllocator();
  const held = new Float64Array(live);
  for (let i = 0; i < live; i++) held[i] = allocator.alloc(TREE_GRANULES, IOVA_LIMIT, false);
  const next = numbers(7);
  for (let i = 0; i < live; i++) {
    const at = next() % live;
    allocator.free(held[at] ?? 0, TREE_GRANULES);
    held[at] = allocator.alloc(TREE_GRANULES, IOVA_LIMIT, false);
  }
  return { allocator, held };
}

/** Allocates a range and frees it. */
function allocFree(live: number): Operation {
  const { allocator } = crowded(live);
  return () => {
    allocator.free(allocator.alloc(TREE_GRANULES, IOVA_LIMIT, false), TREE_GRANULES);
  };
}

/** Frees a random range and allocates it again: every access is a cache miss. */
function churn(live: number): Operation {
  const { allocator, held } = crowded(live);
  const next = numbers(9);
  return () => {
    const i = next() % live;
    allocator.free(held[i] ?? 0, TREE_GRANULES);
    held[i] = allocator.alloc(TREE_GRANULES, IOVA_LIMIT, false);
  };
}

const iovaGrowth: BenchCase = {
  id: "iommu-mock/iova-1e6",
  setup: () => ({ run: allocFree(1_000_000), yardstick: allocFree(1_000) }),
};

const iovaChurn: BenchCase = {
  id: "iommu-mock/iova-churn-1e6",
  setup: () => ({ run: churn(1_000_000), yardstick: churn(1_000) }),
};

export const iommuMock: readonly BenchCase[] = [
  mapOnePage,
  mapOnePageRandom,
  map256,
  mapGiB,
  iovaGrowth,
  iovaChurn,
];

/** One page in random gaps of a domain with so many mappings. */
const mappings: GrowthSeries = {
  id: "iommu-mock/map-unmap-4k",
  unit: "mappings",
  sizes: [100, 1_000, 10_000, 100_000, 1_000_000],
  setup(size) {
    const table = populated(size);
    const next = numbers(3);
    const run = (): void => {
      for (let frame = 0; frame < PAIRS; frame++) {
        const iova = BASE + 1 + 2 * (next() % size);
        table.map(iova, frame, 1, RW);
        table.unmap(iova, 1);
      }
    };
    return { run, perRun: PAIRS };
  },
};

const liveRanges: GrowthSeries = {
  id: "iommu-mock/iova-alloc-free",
  unit: "live ranges",
  sizes: [100, 1_000, 10_000, 100_000, 1_000_000],
  setup: (size) => ({ run: allocFree(size), batch: 100 }),
};

export const iommuMockGrowth: readonly GrowthSeries[] = [mappings, liveRanges];
