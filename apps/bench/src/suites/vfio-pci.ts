import { type DmaBuf, dispose, type ImporterOps, type Slice } from "@peerbar/core";
import type { BenchCase, Operation } from "../case.js";
import { type BenchMachine, benchMachine } from "../machine.js";
import { mapPair } from "../yardstick.js";

const importer: ImporterOps = { allowPeer2Peer: true, invalidateMappings: () => undefined };
const one: readonly Slice[] = [{ offset: 0n, length: 0x20_0000n }];

function mapOnce(buffer: DmaBuf, at: BenchMachine): void {
  const attachment = buffer.attach(at.nic, importer);
  const held = buffer.reservation.lockNow();
  const table = attachment.map("bidirectional", held);
  attachment.unmap(table, "bidirectional", held);
  held.release();
  attachment.detach();
}

/** Export, attach, map, unmap, detach, release of one range. */
const wholeLife: BenchCase = {
  id: "vfio-pci/whole-life",
  async setup() {
    const at = await benchMachine();
    return {
      async run() {
        const buffer = await at.device.exportDmaBuf({ bar: at.bar, ranges: one });
        mapOnce(buffer, at);
        buffer[dispose]();
      },
      yardstick: mapPair(),
    };
  },
};

function mapRanges(at: BenchMachine, count: number): Promise<Operation> {
  const ranges = Array.from({ length: count }, (_, i) => ({
    offset: BigInt(2 * i) * 4096n,
    length: 4096n,
  }));
  return at.device.exportDmaBuf({ bar: at.bar, ranges }).then((buffer) => () => {
    mapOnce(buffer, at);
  });
}

/** Map of many ranges grows with their number. */
const manyRanges: BenchCase = {
  id: "vfio-pci/map-10000-ranges",
  async setup() {
    const at = await benchMachine();
    return {
      run: await mapRanges(at, 10_000),
      yardstick: await mapRanges(at, 1_000),
      batch: 1,
      yardstickBatch: 10,
    };
  },
};

/** One reset with `count` importers attached. */
async function reset(count: number): Promise<Operation> {
  const at = await benchMachine();
  const buffer = await at.device.exportDmaBuf({ bar: at.bar, ranges: one });
  for (let i = 0; i < count; i++) buffer.attach(at.nic, importer);
  return () => at.device.reset();
}

const manyImporters: BenchCase = {
  id: "vfio-pci/reset-1000-importers",
  setup: async () => ({ run: await reset(1_000), yardstick: await reset(100), batch: 10 }),
};

export const vfioPci: readonly BenchCase[] = [wholeLife, manyRanges, manyImporters];
