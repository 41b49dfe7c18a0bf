import { MemoryExporter, PhysicalMemory } from "@peerbar/conformance/reference";
import {
  type DmaBuf,
  type EventSink,
  fromPfn,
  PAGE_SIZE,
  physAddr,
  type Slice,
  toPfn,
} from "@peerbar/core";
import { VfioPci } from "@peerbar/vfio-pci";
import { COMMAND, MEMORY_AND_MASTER, type Server } from "./server.js";

/** Shared memory with its owner's view of it. */
export interface Exported {
  readonly buffer: DmaBuf;
  /** The exporter's own view, in the buffer's order. */
  peek(): Uint8Array;
  poke(bytes: Uint8Array): void;
  /** The pages that may be written, as {@link dirtyPlaces} names them. */
  readonly places: ReadonlySet<string>;
  revoke(): Promise<void>;
  restore(): Promise<void>;
  /** Closes the buffer, then its owner; says what the owner still holds. */
  close(): Promise<number>;
}

export const exporterNames = [
  'vfio-pci, iovaStrategy "mapping"',
  'vfio-pci, iovaStrategy "attachment"',
  "vfio-pci, three ranges",
  "system memory (conformance MemoryExporter)",
] as const;

export type ExporterName = (typeof exporterNames)[number];

/** Whether a route between two functions matters: host memory is not behind one. */
export function isPeer(exporter: ExporterName): boolean {
  return exporter !== "system memory (conformance MemoryExporter)";
}

/** Bytes that every exporter shares. */
export const SHARED_BYTES = 0x4_0000;

const one: readonly Slice[] = [{ offset: 0x10_0000n, length: BigInt(SHARED_BYTES) }];
/** Out of order, with holes: in IOVA space they are one span. */
const three: readonly Slice[] = [
  { offset: 0x18_0000n, length: 0x1_0000n },
  { offset: 0x4_0000n, length: 0x2_0000n },
  { offset: 0x10_3000n, length: 0x1_0000n },
];

export function makeExported(
  name: ExporterName,
  server: Server,
  events: EventSink,
): Promise<Exported> {
  if (!isPeer(name)) return Promise.resolve(exportMemory(server, events));
  const iovaStrategy = name.includes("attachment") ? "attachment" : "mapping";
  return exportBar(server, name.includes("three") ? three : one, iovaStrategy, events);
}

/** Shares ranges of the GPU's BAR through vfio-pci. */
async function exportBar(
  server: Server,
  ranges: readonly Slice[],
  iovaStrategy: "mapping" | "attachment",
  events: EventSink,
): Promise<Exported> {
  const { bar, gpu, p2pdma } = server;
  const device = await new VfioPci({ p2pdma, iovaStrategy, events }).open(gpu);
  const buffer = await device.exportDmaBuf({ bar: bar.index, ranges });
  return {
    buffer,
    peek: () => Buffer.concat(ranges.map(({ offset, length }) => bar.peek(offset, Number(length)))),
    poke: (bytes) => {
      let done = 0;
      for (const { offset, length } of ranges) {
        bar.poke(offset, bytes.subarray(done, done + Number(length)));
        done += Number(length);
      }
    },
    places: new Set(
      ranges.flatMap((range) =>
        pagesOf(`${gpu.name} BAR ${String(bar.index)}`, range.offset, range.length),
      ),
    ),
    // Memory decode off, as its driver turns it off; the hardware then decodes again behind vfio's back, so that nothing but the revoke
    // stands between an importer and the memory.
    revoke: async () => {
      await device.writeConfig(COMMAND, 2, 0);
      gpu.writeConfig(COMMAND, 2, MEMORY_AND_MASTER);
    },
    restore: () => device.writeConfig(COMMAND, 2, MEMORY_AND_MASTER),
    close: async () => {
      buffer.close();
      await device.close();
      return device.buffers + device.registrations;
    },
  };
}

/** Shares host memory of the machine. */
function exportMemory({ machine }: Server, events: EventSink): Exported {
  const owner = new MemoryExporter({ memory: new PhysicalMemory(), events });
  const start = machine.ram.allocate(SHARED_BYTES);
  const buffer = owner.exportRanges([{ start: physAddr(start), length: BigInt(SHARED_BYTES) }]);
  return {
    buffer,
    peek: () => machine.ram.peek(start, SHARED_BYTES),
    poke: (bytes) => {
      machine.ram.poke(start, bytes);
    },
    places: new Set(pagesOf("ram", start, BigInt(SHARED_BYTES))),
    revoke: () => owner.revoke(),
    restore: () => owner.restore(),
    close: async () => {
      buffer.close();
      // The last put may come from anywhere, so that release runs in a turn of its own.
      await owner.scheduler.yield({ kind: "yield", on: "memory-exporter" });
      return owner.live;
    },
  };
}

/** Every page of the machine that was written. */
export function dirtyPlaces({ machine }: Server): string[] {
  return machine.dirty().flatMap(({ where, pages }) => pages.map((page) => place(where, page)));
}

function pagesOf(where: string, start: bigint, length: bigint): string[] {
  const first = toPfn(start);
  return Array.from({ length: toPfn(length) }, (_, i) => place(where, first + i));
}

function place(where: string, page: number): string {
  return `${where} + ${(Number(fromPfn(page)) / PAGE_SIZE).toString(16)}`;
}
