import { type DmaBuf, dispose, type ImporterOps, type Slice } from "@peerbar/core";
import { Iommufd } from "@peerbar/iommufd";
import { MrAccess, RdmaDevice } from "@peerbar/rdma";
import type { BenchCase, GrowthSeries, Operation } from "../case.js";
import { type BenchMachine, benchMachine } from "../machine.js";
import { AWAITS, awaits, mapPair } from "../yardstick.js";

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
  id: "exporter-importers/whole-life",
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
  id: "exporter-importers/map-10000-ranges",
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
  id: "exporter-importers/reset-1000-importers",
  setup: async () => ({ run: await reset(1_000), yardstick: await reset(100), batch: 10 }),
};

/** Maps the buffer into an address space of iommufd's and unmaps it again. */
const intoAddressSpace: BenchCase = {
  id: "exporter-importers/iommufd-map-unmap",
  async setup() {
    const at = await benchMachine();
    const buffer = await at.device.exportDmaBuf({ bar: at.bar, ranges: one });
    const iommufd = new Iommufd(at.iommu);
    const ioas = iommufd.allocIoas();
    ioas.attach(at.nic);
    const slice = { offset: 0n, length: buffer.size };
    return {
      async run() {
        const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
        await mapping.unmap();
      },
      yardstick: awaits,
      perYardstick: AWAITS,
      // Long enough to be timed by processor time: many objects are made, and collecting them waits for threads on a busy machine.
      batch: 500,
      yardstickBatch: 1,
      close: () => iommufd.close(),
    };
  },
};

/** Registers the buffer as a memory region and deregisters it. */
const asRegion: BenchCase = {
  id: "exporter-importers/rdma-register",
  async setup() {
    const at = await benchMachine();
    const buffer = await at.device.exportDmaBuf({ bar: at.bar, ranges: one });
    const rdma = new RdmaDevice(at.nic);
    const pd = rdma.allocPd();
    const access = MrAccess.LOCAL_WRITE | MrAccess.REMOTE_READ | MrAccess.REMOTE_WRITE;
    const request = { offset: 0n, length: buffer.size, iova: 0n, access, mode: "dynamic" } as const;
    return {
      async run() {
        const region = await pd.regDmaBufMr(buffer, request);
        await region.dereg();
      },
      yardstick: awaits,
      perYardstick: AWAITS,
      // Long enough to be timed by processor time: many objects are made, and collecting them waits for threads on a busy machine.
      batch: 500,
      yardstickBatch: 1,
      close: () => rdma.close(),
    };
  },
};

export const exporterImporters: readonly BenchCase[] = [
  wholeLife,
  manyRanges,
  manyImporters,
  intoAddressSpace,
  asRegion,
];

const MIB = 1 << 20;

/** One export and import of a whole BAR: large pages keep it from growing with the bytes. */
const barSizes: GrowthSeries = {
  id: "exporter-importers/share-bar",
  unit: "bytes of BAR",
  sizes: [MIB, 32 * MIB, 1024 * MIB, 32 * 1024 * MIB, 1024 * 1024 * MIB],
  async setup(size) {
    const at = await benchMachine(BigInt(size));
    const ranges = [{ offset: 0n, length: BigInt(size) }];
    const iommufd = new Iommufd(at.iommu);
    const ioas = iommufd.allocIoas();
    ioas.attach(at.nic);
    const slice = { offset: 0n, length: BigInt(size) };
    return {
      async run() {
        const buffer = await at.device.exportDmaBuf({ bar: at.bar, ranges });
        const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
        await mapping.unmap();
        buffer[dispose]();
      },
      close: () => iommufd.close(),
    };
  },
};

/** As many as one export takes: the kernel copies its list in one allocation of 4 MiB, 16 bytes each (vfio-pci-dmabuf V13). */
const MOST_RANGES = (4 * MIB) / 16;

const ranges: GrowthSeries = {
  id: "exporter-importers/map-ranges",
  unit: "ranges",
  sizes: [100, 1_000, 10_000, 100_000, MOST_RANGES],
  async setup(size) {
    const at = await benchMachine(0x8000_0000n);
    return { run: await mapRanges(at, size) };
  },
};

export const exporterImportersGrowth: readonly GrowthSeries[] = [barSizes, ranges];
