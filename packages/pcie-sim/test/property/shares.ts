import type { Slice } from "@peerbar/core";
import fc from "fast-check";
import type { SimBar, SimFunction } from "../../src/index.js";
import type { Share, World } from "./share.js";

/** Numbers from which one share of a world is picked: any function pair, any BAR, any pages. */
export interface Pick {
  readonly provider: number;
  readonly client: number;
  readonly bar: number;
  readonly ranges: readonly { readonly at: number; readonly pages: number }[];
}

export const pick: fc.Arbitrary<Pick> = fc.record({
  provider: fc.nat(10_000),
  client: fc.nat(10_000),
  bar: fc.nat(5),
  ranges: fc.array(fc.record({ at: fc.nat(1_000_000), pages: fc.integer({ min: 1, max: 4 }) }), {
    minLength: 1,
    maxLength: 4,
  }),
});

/** BARs that can be exported: a page at least (vfio-pci-dmabuf R4). */
export function exportable(fn: SimFunction): SimBar[] {
  return fn.memoryBars.filter((bar) => bar.length >= 4096n);
}

export function providersOf(world: World): SimFunction[] {
  return world.machine.functions.filter(
    (fn) => fn.info.headerType === 0 && exportable(fn).length > 0,
  );
}

export function clientsOf(world: World): SimFunction[] {
  return world.machine.functions.filter((fn) => fn.info.headerType === 0);
}

/** The share that a pick means in a world; undefined where nothing can be exported. */
export function shareOf(world: World, { provider, client, bar, ranges }: Pick): Share | undefined {
  const providers = providersOf(world);
  const clients = clientsOf(world);
  const from = providers[provider % providers.length];
  const to = clients[client % clients.length];
  if (from === undefined || to === undefined) return undefined;
  const bars = exportable(from);
  const memory = bars[bar % bars.length];
  if (memory === undefined) return undefined;
  const total = Number(memory.length / 4096n);
  const slices = ranges.map(({ at, pages }): Slice => {
    const count = Math.min(pages, total);
    const first = Math.floor((at / 1_000_001) * (total - count + 1));
    return { offset: BigInt(first) * 4096n, length: BigInt(count) * 4096n };
  });
  return { provider: from, bar: memory.index, ranges: slices, client: to };
}
