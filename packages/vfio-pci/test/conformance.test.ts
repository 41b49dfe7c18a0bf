import { type ExporterCapability, type ExporterSubject, exporterCases } from "@peerbar/conformance";
import { MemoryEngine, PhysicalMemory } from "@peerbar/conformance/reference";
import { registerSuite } from "@peerbar/conformance/vitest";
import type { DmaBuf, DmaDevice, Slice } from "@peerbar/core";
import { type IommuMode, MockIommu } from "@peerbar/iommu-mock";
import { describe, it } from "vitest";
import type { IovaStrategy, P2pMapType } from "../src/index.js";
import { VfioPci } from "../src/index.js";
import { FakeFunction, MIB, memoryBar } from "./fixtures/fake-function.js";

const PEER = "0000:5e:00.0";
const STRANGER = "0000:ff:00.0";
const BAR = 0x40_0000_0000n;
const COMMAND = 4;
const MEMORY = 2;

function subject(
  name: string,
  route: P2pMapType,
  mode: IommuMode | undefined,
  iovaStrategy: IovaStrategy = "mapping",
): ExporterSubject {
  const plain: readonly ExporterCapability[] = [
    "sgt",
    "multi-range",
    "revoke",
    "revocable-only",
    "peer2peer-only",
    "unreachable",
    "bytes",
  ];
  return {
    role: "exporter",
    name: `vfio-pci, ${name}`,
    capabilities: mode === undefined ? plain : [...plain, "mapper"],
    setup: async () => {
      const memory = new PhysicalMemory(BAR);
      const { start, length } = memory.allocate(4n * MIB);
      const fn = new FakeFunction({ bars: [memoryBar(0, start, length)] });
      const mapType = (_provider: string, client: string | undefined): P2pMapType =>
        client === PEER ? route : "not-supported";
      const vfio = new VfioPci({ p2pdma: { mapType }, iovaStrategy });
      const opened = await vfio.open(fn);
      const decode = (on: boolean): Promise<void> =>
        opened.writeConfig(COMMAND, 2, on ? MEMORY : 0);
      await decode(true);
      const peer = device(memory, mode);
      const ranges = new Map<DmaBuf, readonly Slice[]>();
      let next = 0n;
      return {
        device: peer,
        unreachable: { ...peer, name: STRANGER, pciAddress: STRANGER },
        revoke: () => decode(false),
        restore: () => decode(true),
        export: async (...sizes) => {
          // A page between two ranges, so that they are not one.
          const slices = sizes.map((size) => {
            const offset = next;
            next += size + 0x1000n;
            return { offset, length: size };
          });
          const buffer = await opened.exportDmaBuf({ bar: 0, ranges: slices });
          ranges.set(buffer, slices);
          return buffer;
        },
        read: (buffer, offset, into) => {
          let at = offset;
          for (const slice of ranges.get(buffer) ?? []) {
            if (at < slice.length) {
              memory.read(start + slice.offset + at, into);
              return;
            }
            at -= slice.length;
          }
        },
      };
    },
  };
}

function device(memory: PhysicalMemory, mode: IommuMode | undefined): DmaDevice {
  const plain = { name: PEER, pciAddress: PEER, dmaMask: (1n << 64n) - 1n };
  if (mode === undefined) return { ...plain, engine: new MemoryEngine(memory) };
  const port = new MockIommu({ mode }).connect({ ...plain, isPci: true, reserved: [] });
  return { ...plain, dma: port.dma, engine: new MemoryEngine(memory, port) };
}

const subjects = [
  subject("bus address", "bus-addr", undefined),
  subject("host-bridge-iova", "thru-host-bridge", "dma"),
  subject("host-bridge-iova, attachment strategy", "thru-host-bridge", "dma", "attachment"),
  subject("host-bridge-iova, flush queue", "thru-host-bridge", "dma-fq"),
  subject("host-bridge-dma", "thru-host-bridge", "passthrough"),
];
for (const one of subjects) registerSuite({ describe, it }, exporterCases, one);
