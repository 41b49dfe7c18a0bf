import { existsSync, readdirSync } from "node:fs";
import { type CpuKind, type PciTopology, shippedCaptures } from "@peerbar/p2pdma";
import { readTopology } from "@peerbar/p2pdma/node";
import { topologies } from "@peerbar/vitest-config/topologies";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SimFunction } from "../../src/index.js";
import { makeWorld, shareAndCheck, type World } from "./share.js";
import { clientsOf, exportable, pick, providersOf, shareOf } from "./shares.js";

/** Real machines of other people; absent for most. */
const files = existsSync(topologies)
  ? readdirSync(topologies).filter((name) => name.endsWith(".txt") || name.endsWith(".tar.gz"))
  : [];

/** Sizes for dumps that show none (hex only), so that these machines take part too. */
const SIZES = () => 0x1000n;

async function checkMachine(topology: PciTopology): Promise<{ moved: number; total: number }> {
  const seen = { moved: 0, total: 0 };
  for (const mode of ["dma", "off"] as const) {
    for (const cpu of ["intel", "amd-zen"] as CpuKind[]) {
      const world = makeWorld(topology, { mode, cpu, barLengths: SIZES });
      const shares = fc.sample(pick, { numRuns: 60, seed: 7 });
      for (const one of shares) {
        const share = shareOf(world, one);
        if (share === undefined) break;
        seen.total += 1;
        if ((await shareAndCheck(world, share)) === "moved") seen.moved += 1;
      }
      expect(world.iommu.usage.mappedGranules).toBe(0);
    }
  }
  return seen;
}

/** Every BAR answers to the CPU at its address, first and last byte, and only it does. */
function checkAddresses({ machine }: World): number {
  let bars = 0;
  for (const fn of machine.functions) {
    fn.writeConfig(4, 2, fn.readConfig(4, 2) | 6);
    fn.writeConfig(0x44, 2, 0);
  }
  const probe = (fn: SimFunction, at: bigint, index: number, offset: bigint): void => {
    machine.clean();
    machine.cpu.write(at as never, Uint8Array.of(0xa5));
    const where = `${fn.name} BAR ${String(index)}`;
    expect(machine.dirty()).toEqual([{ where, pages: [Number(offset / 4096n)] }]);
    expect(fn.bar(index).peek(offset, 1)[0]).toBe(0xa5);
  };
  for (const fn of machine.functions) {
    for (const bar of fn.memoryBars) {
      bars += 1;
      probe(fn, bar.start, bar.index, 0n);
      probe(fn, bar.start + bar.length - 1n, bar.index, bar.length - 1n);
    }
  }
  return bars;
}

describe.skipIf(files.length === 0)("real machines", () => {
  it.each(files)(
    "%s: every BAR is where it says, every share moves its bytes or is refused",
    async (name) => {
      const topology = await readTopology(`${topologies}${name}`);
      const world = makeWorld(topology, { mode: "off", barLengths: SIZES });
      const bars = checkAddresses(world);
      const { moved, total } = await checkMachine(topology);
      if (
        providersOf(world).some((fn) => exportable(fn).length > 0) &&
        clientsOf(world).length > 1
      ) {
        expect(bars).toBeGreaterThan(0);
        expect(total).toBeGreaterThan(0);
        expect(moved).toBeGreaterThan(0);
      }
    },
    60_000,
  );
});

describe("shipped captures", () => {
  it.each(Object.keys(shippedCaptures))(
    "%s",
    async (name) => {
      const topology = shippedCaptures[name]?.();
      if (topology === undefined) throw new Error(name);
      checkAddresses(makeWorld(topology, { mode: "off" }));
      expect((await checkMachine(topology)).moved).toBeGreaterThan(0);
    },
    60_000,
  );
});
