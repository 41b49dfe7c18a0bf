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
import { type IovaStrategy, type P2pMapType, VfioPci } from "../src/index.js";
import { backedMachine } from "./fixtures/backed-machine.js";
import { FakeFunction, GIB, memoryBar } from "./fixtures/fake-function.js";
import { fakeDevice } from "./fixtures/fake-importer.js";

const START = 0x100_0000_0000n;
const FAR = "0000:ff:00.0";

const capabilities: readonly ExporterCapability[] = [
  ...(["sgt", "phys", "multi-range", "revoke", "revocable-only", "peer2peer-only"] as const),
  ...(["bytes", "unreachable", "live"] as const),
];

/** vfio-pci over a fake function, its BAR given out piece by piece with a hole after each range. */
async function fixture(
  strategy: IovaStrategy,
  answer: P2pMapType,
  mode: IommuMode,
): Promise<ExporterFixture> {
  const { memory, device: nic } = backedMachine(mode, answer === "bus-addr");
  const p2pdma = {
    mapType: (_provider: string, client: string | undefined): P2pMapType =>
      client === undefined || client === FAR ? "not-supported" : answer,
  };
  const vfio = new VfioPci({ p2pdma, iovaStrategy: strategy });
  const device = await vfio.open(new FakeFunction({ bars: [memoryBar(0, START, 64n * GIB)] }));
  let next = 0x10_0000n;
  const layout = new Map<DmaBuf, readonly Slice[]>();
  return {
    device: nic,
    unreachable: fakeDevice(FAR, nic.dma),
    live: () => device.buffers,
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
      capabilities: answer === "bus-addr" ? capabilities : [...capabilities, "mapper"],
      setup: () => fixture(strategy, answer, mode),
    };
    registerSuite({ describe, it }, exporterCases, subject);
  }
}
