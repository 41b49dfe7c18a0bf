import { MemoryExporter, PhysicalMemory } from "@peerbar/conformance/reference";
import { type DmaBuf, type EventSink, physAddr, type Slice, toPfn } from "@peerbar/core";
import type { Machine } from "@peerbar/pcie-sim";
import { VfioPci } from "@peerbar/vfio-pci";
import { COMMAND, MEMORY_AND_MASTER, type Server } from "./server.js";

/** Pages that were written. */
interface Written {
  /** How many of the shared pages. */
  readonly inside: number;
  /** All others, anywhere in the machine. */
  readonly outside: readonly string[];
}

/** Shared memory with its owner's view of it. */
export interface Exported {
  readonly buffer: DmaBuf;
  /** The exporter's own view, in the buffer's order. */
  peek(): Uint8Array;
  poke(bytes: Uint8Array): void;
  /** What was written in the whole machine since it was last cleaned. */
  written(): Written;
  /** From the moment it is done the machine counts writes anew: none may come. */
  revoke(): Promise<void>;
  restore(): Promise<void>;
  /** Where the exporter can: function reset of the device under the buffer. */
  reset?(): Promise<void>;
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
export async function exportBar(
  server: Server,
  ranges: readonly Slice[],
  iovaStrategy: "mapping" | "attachment",
  events: EventSink,
): Promise<Exported> {
  const { bar, gpu, machine, p2pdma } = server;
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
    written: () => writtenIn(machine, `${gpu.name} BAR ${String(bar.index)}`, ranges),
    // Memory decode off, as its driver turns it off; the hardware then decodes again behind vfio's back, so that nothing but the revoke
    // stands between an importer and the memory.
    revoke: async () => {
      await device.writeConfig(COMMAND, 2, 0);
      machine.clean();
      gpu.writeConfig(COMMAND, 2, MEMORY_AND_MASTER);
    },
    restore: () => device.writeConfig(COMMAND, 2, MEMORY_AND_MASTER),
    reset: () => device.reset(),
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
    written: () => writtenIn(machine, "ram", [{ offset: start, length: BigInt(SHARED_BYTES) }]),
    revoke: async () => {
      await owner.revoke();
      machine.clean();
    },
    restore: () => owner.restore(),
    close: async () => {
      buffer.close();
      // The last put may come from anywhere, so that release runs in a turn of its own.
      await owner.scheduler.yield({ kind: "yield", on: "memory-exporter" });
      return owner.live;
    },
  };
}

/** @param where - as the machine names the place of `ranges`, which do not overlap. */
function writtenIn(machine: Machine, where: string, ranges: readonly Slice[]): Written {
  const spans = ranges.map(
    ({ offset, length }) => [toPfn(offset), toPfn(offset + length)] as const,
  );
  let inside = 0;
  const outside: string[] = [];
  for (const { where: here, pages } of machine.dirty()) {
    for (const page of pages) {
      if (here === where && spans.some(([first, end]) => page >= first && page < end)) inside += 1;
      else outside.push(`${here}, page ${String(page)}`);
    }
  }
  return { inside, outside };
}
