import {
  DmaBuf,
  type DmaDevice,
  type ExporterOps,
  type ImporterOps,
  mapPhysVec,
  type PhysRange,
  physAddr,
  unmapPhysVec,
} from "@peerbar/core";
import type { BenchCase, GrowthSeries, Operation } from "../case.js";
import { mapPair } from "../yardstick.js";

const SIZE = 0x20_0000n;

/** The smallest honest exporter: its ranges by bus address. */
function exporterOf(ranges: readonly PhysRange[]): ExporterOps {
  return {
    name: "bench",
    offers: () => ["sgt"],
    map: (attachment, direction) =>
      mapPhysVec(attachment.device, { kind: "bus", busOffset: 0n }, ranges, direction),
    unmap: (_attachment, table) => {
      unmapPhysVec(table);
    },
    release: () => undefined,
  };
}

const exporter = exporterOf([{ start: physAddr(0x1000_0000n), length: SIZE }]);
const device: DmaDevice = { name: "peer", pciAddress: "0000:01:00.0", dmaMask: (1n << 64n) - 1n };
const importer: ImporterOps = { allowPeer2Peer: true, invalidateMappings: () => undefined };

function exported(): DmaBuf {
  return DmaBuf.export({ ops: exporter, size: SIZE });
}

/** lock, attach, map, unmap, detach of one range. Attach takes the lock itself, so it comes first. */
function share(buffer: DmaBuf): Operation {
  return () => {
    const attachment = buffer.attach(device, importer);
    const held = buffer.reservation.lockNow();
    const table = attachment.map("bidirectional", held);
    attachment.unmap(table, "bidirectional", held);
    held.release();
    attachment.detach();
  };
}

const shareOneRange: BenchCase = {
  id: "core/share-one-range",
  setup: () => ({ run: share(exported()), yardstick: mapPair() }),
};

/** The same cycle with a sink that does nothing: what its absence saves. Every event is built only where somebody listens. */
const withoutSink: BenchCase = {
  id: "core/events-absent",
  setup: () => ({
    run: share(exported()),
    yardstick: share(
      DmaBuf.export({ ops: exporter, size: SIZE, events: { emit: () => undefined } }),
    ),
  }),
};

/** One revoke notification to `count` importers. */
function invalidate(count: number): Operation {
  const buffer = exported();
  for (let i = 0; i < count; i++) buffer.attach(device, importer);
  return () => {
    const held = buffer.reservation.lockNow();
    buffer.invalidateMappings(held);
    held.release();
  };
}

function revokeGrowth(count: number): BenchCase {
  return {
    id: `core/revoke-${String(count)}`,
    setup: () => ({
      run: invalidate(count),
      yardstick: invalidate(count / 10),
      batch: 1,
      yardstickBatch: 10,
    }),
  };
}

export const core: readonly BenchCase[] = [
  shareOneRange,
  withoutSink,
  revokeGrowth(10_000),
  revokeGrowth(100_000),
];

export const coreGrowth: readonly GrowthSeries[] = [
  {
    id: "core/revoke",
    unit: "attachments",
    sizes: [100, 1_000, 10_000, 100_000, 1_000_000],
    setup: (size) => ({ run: invalidate(size) }),
  },
  {
    id: "core/share-ranges",
    unit: "ranges",
    sizes: [100, 1_000, 10_000, 100_000, 1_000_000],
    setup: (size) => {
      // Every other page: no two can be merged.
      const ranges = Array.from({ length: size }, (_, i) => ({
        start: physAddr(0x1_0000_0000n + BigInt(i) * 0x2000n),
        length: 0x1000n,
      }));
      const ops = exporterOf(ranges);
      return { run: share(DmaBuf.export({ ops, size: BigInt(size) * 0x1000n })) };
    },
  },
];
