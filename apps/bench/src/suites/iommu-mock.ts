import {
  IoPageTable,
  IovaAllocator,
  PROT_READ,
  PROT_WRITE,
  pageTableFormat,
} from "@peerbar/iommu-mock";
import type { BenchCase, Operation } from "../case.js";
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
function populated(): IoPageTable {
  const table = new IoPageTable(pageTableFormat("x86-64"));
  for (let i = 0; i < POPULATED; i++) table.map(BASE + 2 * i, i, 1, RW);
  return table;
}

/** Maps and unmaps one page: one gap after the other, as an allocator hands them out, or in random gaps. */
function onePage(table: IoPageTable, order: "in order" | "random"): Operation {
  const next = order === "random" ? numbers(1) : counter();
  let frame = 0;
  return () => {
    const iova = BASE + 1 + 2 * (next() & (POPULATED - 1));
    frame += 1;
    table.map(iova, frame, 1, RW);
    table.unmap(iova, 1);
  };
}

const FAR = 0x400_0000;

/** Maps and unmaps `pages` at once, aligned. A neighbour keeps the tables, so that neither side pays for making them. */
function run(table: IoPageTable, pages: number): Operation {
  if (!table.covers(FAR + pages, 1)) table.map(FAR + pages, 1, 1, RW);
  return () => {
    table.map(FAR, 0x800_0000, pages, RW);
    table.unmap(FAR, pages);
  };
}

const mapOnePage: BenchCase = {
  id: "iommu-mock/map-unmap-4k",
  setup() {
    const yardstick = cYardstick("radix");
    if ("skipped" in yardstick) return yardstick;
    return { run: onePage(populated(), "in order"), yardstick, batch: 1000 };
  },
};

/** Every access misses the CPU's caches; compiled C overlaps the misses of many rounds. */
const mapOnePageRandom: BenchCase = {
  id: "iommu-mock/map-unmap-4k-random",
  setup() {
    const yardstick = cYardstick("radix", "random");
    if ("skipped" in yardstick) return yardstick;
    return { run: onePage(populated(), "random"), yardstick, batch: 1000 };
  },
};

const map256: BenchCase = {
  id: "iommu-mock/map-256-pages",
  setup() {
    const table = populated();
    return { run: run(table, 256), yardstick: onePage(table, "in order") };
  },
};

const mapGiB: BenchCase = {
  id: "iommu-mock/map-1gib",
  setup() {
    const table = populated();
    return { run: run(table, GIB_PAGES), yardstick: onePage(table, "in order") };
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
