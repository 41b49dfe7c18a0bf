import {
  type BackendSubject,
  backendCases,
  type ExporterCapability,
  type ExporterFixture,
  type ExporterSubject,
  exporterCases,
  type ImporterFixture,
  type ImporterSubject,
  importerCases,
} from "@peerbar/conformance";
import { type DescriptorSource, PhysicalMemory } from "@peerbar/conformance/reference";
import { registerSuite } from "@peerbar/conformance/vitest";
import { asyncDispose, type DmaBuf, dispose, iova, type PhysRange } from "@peerbar/core";
import { Iommufd } from "@peerbar/iommufd";
import { close } from "@peerbar/linux";
import { describe, it } from "vitest";
import { markKernelRevoked } from "../src/buffers/kernel-revoked.js";
import { EduDevice } from "../src/edu.js";
import { allocFromHeap, createUdmabuf, NativeHost, NativeIommu } from "../src/index.js";
import { SelftestDevice, SelftestExporter } from "../src/selftest.js";
import { BarMemory } from "./bar-memory.js";
import { first, labDevices, nothingOpen } from "./machine.js";
import { PhysOverMemfd } from "./phys-over-memfd.js";

const devices = labDevices();
const client = { name: "importer", pciAddress: undefined, dmaMask: (1n << 64n) - 1n };

/** What the kernel does takes time of its own: a turn is a millisecond. */
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

/** Ends of the fixtures that setup made. */
const ends = new WeakMap<object, () => void | Promise<void>>();

function ending<F extends object>(fixture: F, end: () => void | Promise<void>): F {
  ends.set(fixture, end);
  return fixture;
}

const teardown = async (fixture: object): Promise<void> => {
  await ends.get(fixture)?.();
  await nothingOpen();
};

const vfioExporter: ExporterSubject = {
  role: "exporter",
  name: "vfio-pci of the kernel",
  capabilities: ["revoke", "revocable-only", "peer2peer-only", "live"],
  turn,
  teardown,
  setup: async (): Promise<ExporterFixture> => {
    const host = new NativeHost();
    const device = await host.open(first(devices.memory, "ivshmem"));
    await device.setMemory(true);
    let next = 0n;
    return ending(
      {
        device: client,
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
      () => host.close(),
    );
  },
};

/** Exporters of ordinary memory: nobody can take it back, and every importer may attach. */
function memoryExporter(name: string, make: (size: bigint) => DmaBuf): ExporterSubject {
  const capabilities: readonly ExporterCapability[] = ["live"];
  return {
    role: "exporter",
    name,
    capabilities,
    turn,
    teardown,
    setup: (): ExporterFixture => {
      const made: DmaBuf[] = [];
      return ending(
        {
          device: client,
          export: (...sizes) => {
            const buffer = make(sizes.reduce((sum, size) => sum + size, 0n));
            made.push(buffer);
            return buffer;
          },
          live: () => made.filter(({ released }) => !released).length,
        },
        () => {
          for (const buffer of made) buffer.close();
        },
      );
    },
  };
}

const eduImporter: ImporterSubject = {
  role: "importer",
  name: "iommufd of the kernel, vfio-pci and edu",
  capabilities: ["fd", "revocable", "final", "pins", "dma"],
  turn,
  teardown,
  setup: async (): Promise<ImporterFixture> => {
    const host = new NativeHost();
    const provider = host.function(first(devices.memory, "ivshmem"));
    const exporter = await host.open(provider);
    await exporter.setMemory(true);
    const nic = host.function(first(devices.edu, "edu"));
    const opened = await host.open(nic);
    await opened.setMemory(true);
    const iommufd = new Iommufd(host.iommu);
    const ioas = iommufd.allocIoas();
    ioas.attach(nic);
    const engine = new EduDevice(opened, ioas.space);
    return ending(
      {
        memory: new BarMemory(provider, exporter),
        import: async (buffer, slice) => {
          const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
          return {
            close: () => mapping[asyncDispose](),
            write: async (offset, bytes) =>
              (await engine.write(iova(mapping.iova + offset), bytes)).status === "ok",
          };
        },
      },
      async () => {
        engine[dispose]();
        await iommufd.close();
        await host.close();
      },
    );
  },
};

/** Memory of the selftest exporter: it can be revoked, and read by nobody. */
class SelftestMemory extends PhysicalMemory {
  override readonly descriptors: DescriptorSource;

  constructor(iommu: NativeIommu) {
    super();
    const exporter = new SelftestExporter(iommu);
    const unmark = new Map<number, () => void>();
    this.descriptors = {
      open: (ranges: readonly PhysRange[]) => {
        const length = ranges.reduce((sum, range) => sum + range.length, 0n);
        const fd = exporter.exportFd(Number(length));
        unmark.set(fd, markKernelRevoked(fd));
        return fd;
      },
      close: (fd) => {
        unmark.get(fd)?.();
        close(fd);
      },
      setRevoked: (fd, revoked) => {
        exporter.revokeNow(fd, revoked);
      },
    };
  }
}

const selftestImporter: ImporterSubject = {
  role: "importer",
  name: "iommufd of the kernel, its selftest's exporter and device",
  capabilities: ["fd", "revocable", "final", "pins"],
  turn,
  teardown,
  setup: (): ImporterFixture => {
    const iommu = new NativeIommu();
    const device = new SelftestDevice(iommu, "mock");
    const iommufd = new Iommufd(iommu);
    const ioas = iommufd.allocIoas();
    ioas.attach(device);
    return ending(
      {
        memory: new SelftestMemory(iommu),
        import: async (buffer, slice) => {
          const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
          return { close: () => mapping[asyncDispose]() };
        },
      },
      async () => {
        await iommufd.close();
        device.close();
        iommu.close();
      },
    );
  },
};

const backend: BackendSubject = {
  role: "backend",
  name: "iommufd of the kernel, its selftest's device",
  capabilities: ["phys", "ports"],
  knownGaps: {
    "space/permissions": "the selftest's device tells where an IOVA leads, not who may use it",
    "space/ranges-in-order": "iommufd M15: one range a dma-buf; a file is one range",
  },
  turn,
  teardown,
  setup: () => {
    const native = new PhysOverMemfd();
    return ending(
      {
        iommu: native.iommu,
        connect: (one) => native.connect(one),
        memory: (length) => native.memory(length),
      },
      () => {
        native[Symbol.dispose]();
      },
    );
  },
};

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
registerSuite({ describe, it }, importerCases, selftestImporter);
registerSuite({ describe, it }, importerCases, eduImporter);
registerSuite({ describe, it }, backendCases, backend);
