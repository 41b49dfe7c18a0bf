import {
  type ExporterCapability,
  type ExporterFixture,
  type ExporterSubject,
  exporterCases,
} from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import type { DmaBuf, Slice } from "@peerbar/core";
import type { IommuMode } from "@peerbar/iommu-mock";
import { describe, it } from "vitest";
import {
  deviceFeature,
  type IovaStrategy,
  type P2pMapType,
  VFIO_DEVICE_FEATURE_DMA_BUF,
  VFIO_DEVICE_FEATURE_GET,
  VfioPci,
} from "../src/index.js";
import { backedMachine } from "./fixtures/backed-machine.js";
import { FakeFunction, GIB, memoryBar } from "./fixtures/fake-function.js";
import { fakeDevice } from "./fixtures/fake-importer.js";

const START = 0x100_0000_0000n;
const REGION_BYTES = 1n << 58n;
const FAR = "0000:ff:00.0";

const capabilities: readonly ExporterCapability[] = [
  ...(["sgt", "phys", "multi-range", "revoke", "revocable-only", "peer2peer-only"] as const),
  ...(["bytes", "unreachable", "live", "fd", "ranges", "forbidden", "large"] as const),
  ...(["reroute", "close", "reset", "low-power"] as const),
];

/** What `VFIO_DEVICE_FEATURE` reads: DMA_BUF, GET, one range of BAR 0. */
function featureRequest(offset: bigint, length: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(40));
  view.setUint32(0, 40, true);
  view.setUint32(4, VFIO_DEVICE_FEATURE_DMA_BUF | VFIO_DEVICE_FEATURE_GET, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, offset, true);
  view.setBigUint64(32, length, true);
  return new Uint8Array(view.buffer);
}

/** vfio-pci over a fake function, its BAR given out piece by piece with a hole after each range. */
async function fixture(
  strategy: IovaStrategy,
  answer: P2pMapType,
  mode: IommuMode,
): Promise<ExporterFixture> {
  const { memory, device: nic } = backedMachine(mode, answer === "bus-addr");
  let reachable = true;
  const p2pdma = {
    mapType: (_provider: string, client: string | undefined): P2pMapType =>
      client === undefined || client === FAR || !reachable ? "not-supported" : answer,
  };
  const vfio = new VfioPci({ p2pdma, iovaStrategy: strategy });
  const bars = [
    memoryBar(0, START, 64n * GIB),
    undefined,
    memoryBar(2, 1n << 60n, REGION_BYTES),
    undefined,
    memoryBar(4, 1n << 50n, GIB),
  ];
  const device = await vfio.open(new FakeFunction({ bars }), { unclaimedBars: [4] });
  let next = 0x10_0000n;
  const layout = new Map<DmaBuf, readonly Slice[]>();
  return {
    device: nic,
    unreachable: fakeDevice(FAR, nic.dma),
    live: () => device.buffers,
    exportFd: (fds, length) => deviceFeature(device, fds, featureRequest(0n, length)),
    exportRanges: (ranges) => device.exportDmaBuf({ bar: 2, ranges }),
    regionSize: REGION_BYTES,
    exportForbidden: () =>
      device.exportDmaBuf({ bar: 4, ranges: [{ offset: 0n, length: 0x1000n }] }),
    reroute: (open) => {
      reachable = open;
    },
    close: () => device.close(),
    reset: () => device.reset(),
    lowPower: (asleep) => (asleep ? device.enterLowPower() : device.exitLowPower()),
    async export(...sizes) {
      const ranges = sizes.map((length) => {
        const offset = next;
        next += length + 0x1000n;
        return { offset, length };
      });
      const buffer = await device.exportDmaBuf({ bar: 0, ranges });
      layout.set(buffer, ranges);
      return buffer;
    },
    revoke: () => device.writeConfig(4, 2, 0),
    restore: () => device.writeConfig(4, 2, 2),
    read(buffer, offset, into) {
      let left = offset;
      for (const range of layout.get(buffer) ?? []) {
        if (left < range.length) {
          memory.read(START + range.offset + left, into);
          return;
        }
        left -= range.length;
      }
    },
  };
}

const ways = [
  ["bus", "bus-addr", "dma"],
  ["host-bridge-iova", "thru-host-bridge", "dma"],
  ["host-bridge-iova, lazy flush", "thru-host-bridge", "dma-fq"],
  ["host-bridge-dma", "thru-host-bridge", "passthrough"],
] as const;

for (const strategy of ["mapping", "attachment"] as const) {
  for (const [kind, answer, mode] of ways) {
    const subject: ExporterSubject = {
      role: "exporter",
      name: `vfio-pci (${strategy}, ${kind})`,
      capabilities: [
        ...capabilities,
        ...(answer === "bus-addr" ? [] : (["mapper"] as const)),
        ...(answer !== "bus-addr" && strategy === "mapping" ? (["lazy-iova"] as const) : []),
      ],
      setup: () => fixture(strategy, answer, mode),
    };
    registerSuite({ describe, it }, exporterCases, subject);
  }
}
