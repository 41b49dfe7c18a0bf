import { busAddr } from "@peerbar/core";
import type { BenchCase, GrowthSeries, Operation } from "../case.js";
import { benchMachine } from "../machine.js";
import { cYardstick } from "../yardstick.js";

const BYTES = 64 * 1024 * 1024;

/** 64 MiB from a NIC into a peer's BAR. */
async function dma(): Promise<{ readonly source: Buffer; readonly run: Operation }> {
  const { gpu, nic, bar } = await benchMachine();
  const source = Buffer.alloc(BYTES, 0x5a);
  const address = gpu.bar(bar).busStart;
  return { source, run: () => nic.engine.writeNow(address, source) };
}

/** Against a copy of the same bytes in memory. */
const againstCopy: BenchCase = {
  id: "pcie-sim/dma-64mib",
  async setup() {
    const { source, run } = await dma();
    const target = Buffer.alloc(BYTES);
    return { run, yardstick: () => source.copy(target), batch: 1 };
  },
};

/** Against C's, which owes nothing to the engine. */
const againstMemcpy: BenchCase = {
  id: "pcie-sim/dma-64mib-memcpy",
  async setup() {
    const yardstick = cYardstick("memcpy", String(BYTES));
    if ("skipped" in yardstick) return yardstick;
    const { run } = await dma();
    return { run, yardstick, batch: 1 };
  },
};

export const pcieSim: readonly BenchCase[] = [againstCopy, againstMemcpy];

const CHUNK = 64 * 1024;
const PAGE = 4096;
const LINE = 64;
const MIB = 1 << 20;

/**
 * 64 KiB to the end of a BAR: memory is made where it is touched, so its size must not show. The source lies elsewhere in its page each time,
 * and a call is timed alone, so that the median leaves out the one place in a page from where some processors copy twenty times slower
 * (`rep movsb` with source and target within 64 bytes of the same page offset, which is chance).
 */
const barSizes: GrowthSeries = {
  id: "pcie-sim/dma-64kib",
  unit: "bytes of BAR",
  sizes: [MIB, 32 * MIB, 1024 * MIB, 32 * 1024 * MIB, 1024 * 1024 * MIB],
  async setup(size) {
    const { gpu, nic, bar } = await benchMachine(BigInt(size));
    const bytes = Buffer.alloc(CHUNK + PAGE, 0x5a);
    const sources = Array.from({ length: PAGE / LINE }, (_, i) =>
      bytes.subarray(i * LINE, i * LINE + CHUNK),
    );
    const address = busAddr(gpu.bar(bar).busStart + BigInt(size - CHUNK));
    let at = 0;
    return {
      run() {
        at = (at + 1) % sources.length;
        nic.engine.writeNow(address, sources[at] ?? bytes);
      },
    };
  },
};

export const pcieSimGrowth: readonly GrowthSeries[] = [barSizes];
