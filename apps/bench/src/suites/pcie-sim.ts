import type { BenchCase } from "../case.js";
import { benchMachine } from "../machine.js";

const BYTES = 64 * 1024 * 1024;

/** 64 MiB from a NIC into a peer's BAR, against a copy of the same bytes in memory. */
const write64MiB: BenchCase = {
  id: "pcie-sim/dma-64mib",
  async setup() {
    const { gpu, nic, bar } = await benchMachine();
    const source = Buffer.alloc(BYTES, 0x5a);
    const target = Buffer.alloc(BYTES);
    const address = gpu.bar(bar).busStart;
    return {
      run: () => nic.engine.writeNow(address, source),
      yardstick: () => source.copy(target),
      batch: 1,
    };
  },
};

export const pcieSim: readonly BenchCase[] = [write64MiB];
