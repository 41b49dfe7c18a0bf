import {
  type ExporterCapability,
  type ExporterFixture,
  type ExporterSubject,
  exporterCases,
} from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import { openFds } from "@peerbar/linux";
import { afterAll, beforeAll, describe, it } from "vitest";
import { allocFromHeap, createUdmabuf, type NativeDmaBuf, NativeHost } from "../src/index.js";
import { bystander, ending, teardown, turn } from "./fixture-ends.js";
import { first, labDevices, nothingOpen } from "./machine.js";

/** One for all cases: each opens the devices it needs. */
let host: NativeHost;
beforeAll(() => {
  host = new NativeHost();
});
afterAll(async () => {
  await host.close();
  await nothingOpen();
});

const vfioExporter: ExporterSubject = {
  role: "exporter",
  name: "vfio-pci of the kernel",
  capabilities: ["revoke", "revocable-only", "peer2peer-only", "live"],
  turn,
  teardown,
  setup: async (): Promise<ExporterFixture> => {
    const device = await host.open(first(labDevices().memory, "ivshmem"));
    await device.setMemory(true);
    let next = 0n;
    return ending(
      {
        device: bystander,
        export: (...sizes) => {
          const ranges = sizes.map((length) => {
            const offset = next;
            next += length;
            return { offset, length };
          });
          return device.exportDmaBuf({ bar: 2, ranges });
        },
        revoke: () => device.setMemory(false),
        restore: () => device.setMemory(true),
        live: () => device.live,
      },
      () => device.close(),
    );
  },
};

const isOpen = (fd: number): boolean => openFds().some((open) => open.fd === fd);

/** Exporters of ordinary memory: nobody can take it back, and every importer may attach. */
function memoryExporter(name: string, make: (size: bigint) => NativeDmaBuf): ExporterSubject {
  const capabilities: readonly ExporterCapability[] = ["live", "mmap"];
  return {
    role: "exporter",
    name,
    capabilities,
    turn,
    teardown,
    setup: (): ExporterFixture => {
      const made: { readonly buffer: NativeDmaBuf; readonly fd: number }[] = [];
      return ending(
        {
          device: bystander,
          export: (...sizes) => {
            const buffer = make(sizes.reduce((sum, size) => sum + size, 0n));
            made.push({ buffer, fd: buffer.fd });
            return buffer;
          },
          // Released is whose descriptor is closed.
          live: () => made.filter(({ fd }) => isOpen(fd)).length,
        },
        () => {
          for (const { buffer } of made) buffer.close();
        },
      );
    },
  };
}

registerSuite({ describe, it }, exporterCases, vfioExporter);
registerSuite(
  { describe, it },
  exporterCases,
  memoryExporter("udmabuf of the kernel", (size) => createUdmabuf(size)),
);
registerSuite(
  { describe, it },
  exporterCases,
  memoryExporter("system heap of the kernel", (size) => allocFromHeap(size)),
);
