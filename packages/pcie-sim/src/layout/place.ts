import { alignUp, type BusSpan, FOUR_GIB, findGap, MIB, type Window } from "./layout.js";
import { busOffset, type Item, type Plan } from "./plan.js";

/** A piece of address space that is sized before it is placed. */
interface Block {
  readonly size: bigint;
  readonly align: bigint;
  place(base: bigint): void;
}

/** Where new things go: below the local APIC as bus addresses, and from 256 GiB up as CPU addresses. */
const LOW: BusSpan = { first: 0x8000_0000n, last: 0xfebf_ffffn };
const LOWER: BusSpan = { first: 0x1000_0000n, last: 0x7fff_ffffn };
const HIGH: BusSpan = { first: 0x40_0000_0000n, last: 0x3fff_ffff_ffffn };
/** 64-bit BARs from this size on go above 4 GiB even where they are not prefetchable: there is no room for them below. */
const LARGE = 0x400_0000n;

/** What is taken: CPU addresses of the whole machine, and bus addresses of each host bridge. */
export interface Occupied {
  readonly cpu: BusSpan[];
  readonly bus: readonly BusSpan[][];
}

/**
 * Gives a function on a root bus and everything below it new addresses, as firmware does: sizes from the leaves up, largest alignment
 * first, then places from the root down.
 *
 * @returns the BARs that found no place
 */
export function placeSubtree(plan: Plan, root: number, occupied: Occupied): Item[] {
  const hostBridge = plan.functions[root]?.hostBridge ?? -1;
  forget(plan, root);
  const lost: Item[] = [];
  for (const pool of ["prefetchable", "memory"] as const) {
    const blocks = ownBlocks(plan, root, pool);
    const window = windowBlock(plan, root, pool);
    if (window !== undefined) blocks.push(window);
    for (const block of blocks) {
      const base = allocate(plan, hostBridge, pool, block, occupied);
      if (base !== undefined) block.place(base);
    }
  }
  collectLost(plan, root, lost);
  return lost;
}

/** Places BARs of one root-bus function that have no address yet; the others stay. */
export function placeOwnBars(plan: Plan, root: number, occupied: Occupied): Item[] {
  const lost: Item[] = [];
  for (const item of plan.items[root] ?? []) {
    if (item.bus !== undefined) continue;
    const hostBridge = plan.functions[root]?.hostBridge ?? -1;
    const block = itemBlock(item);
    const base = allocate(plan, hostBridge, poolOf(item), block, occupied);
    if (base === undefined) lost.push(item);
    else block.place(base);
  }
  return lost;
}

/** Marks a stretch of bus addresses behind a host bridge as taken, on both sides of the bridge. */
export function occupy(plan: Plan, hostBridge: number, span: BusSpan, occupied: Occupied): void {
  occupied.bus[hostBridge]?.push(span);
  const offset = busOffset(plan.offsets[hostBridge], span.first);
  occupied.cpu.push({ first: span.first - offset, last: span.last - offset });
}

function forget(plan: Plan, fn: number): void {
  plan.windows[fn]?.splice(0);
  for (const item of plan.items[fn] ?? []) item.bus = undefined;
  for (const child of plan.children[fn] ?? []) forget(plan, child);
}

function collectLost(plan: Plan, fn: number, lost: Item[]): void {
  for (const item of plan.items[fn] ?? []) if (item.bus === undefined) lost.push(item);
  for (const child of plan.children[fn] ?? []) collectLost(plan, child, lost);
}

function poolOf(item: Item): Window["kind"] {
  const wide = item.info.is64Bit && (item.info.prefetchable || item.length >= LARGE);
  return wide ? "prefetchable" : "memory";
}

function itemBlock(item: Item): Block {
  return {
    size: item.length,
    align: item.align,
    place: (base) => {
      item.bus = base;
    },
  };
}

function ownBlocks(plan: Plan, fn: number, pool: Window["kind"]): Block[] {
  return (plan.items[fn] ?? []).filter((item) => poolOf(item) === pool).map(itemBlock);
}

/** Everything of one pool behind a bridge, packed; placing it sets the bridge's window. */
function windowBlock(plan: Plan, bridge: number, pool: Window["kind"]): Block | undefined {
  const blocks: Block[] = [];
  for (const child of plan.children[bridge] ?? []) {
    blocks.push(...ownBlocks(plan, child, pool));
    const window = windowBlock(plan, child, pool);
    if (window !== undefined) blocks.push(window);
  }
  if (blocks.length === 0) return undefined;
  blocks.sort((a, b) => (a.align > b.align ? -1 : a.align < b.align ? 1 : 0));
  let align = MIB;
  let end = 0n;
  const offsets = blocks.map((block) => {
    if (block.align > align) align = block.align;
    const offset = alignUp(end, block.align);
    end = offset + block.size;
    return offset;
  });
  const size = alignUp(end, MIB);
  return {
    size,
    align,
    place: (base) => {
      plan.windows[bridge]?.push({ kind: pool, first: base, last: base + size - 1n });
      for (const [i, block] of blocks.entries()) block.place(base + (offsets[i] ?? 0n));
    },
  };
}

function allocate(
  plan: Plan,
  hostBridge: number,
  pool: Window["kind"],
  block: Block,
  occupied: Occupied,
): bigint | undefined {
  const high = plan.offsets[hostBridge]?.high ?? 0n;
  const regions =
    pool === "memory" ? [LOW, LOWER] : [{ first: HIGH.first + high, last: HIGH.last + high }];
  for (const region of regions) {
    const offset = busOffset(plan.offsets[hostBridge], region.first);
    const cpu = occupied.cpu.map((span) => ({
      first: span.first + offset,
      last: span.last + offset,
    }));
    // No CPU address is below zero.
    const nowhere = offset > 0n ? [{ first: 0n, last: offset - 1n }] : [];
    const taken = [...cpu, ...nowhere, ...(occupied.bus[hostBridge] ?? [])];
    const base = findGap(region, taken, block.size, block.align);
    if (base === undefined || (pool === "memory" && base + block.size > FOUR_GIB)) continue;
    occupy(plan, hostBridge, { first: base, last: base + block.size - 1n }, occupied);
    return base;
  }
  return undefined;
}
