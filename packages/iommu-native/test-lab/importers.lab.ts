import { type ImporterFixture, type ImporterSubject, importerCases } from "@peerbar/conformance";
import { type DescriptorSource, PhysicalMemory } from "@peerbar/conformance/reference";
import { registerSuite } from "@peerbar/conformance/vitest";
import { asyncDispose, dispose, iova, type PhysRange } from "@peerbar/core";
import { Iommufd } from "@peerbar/iommufd";
import { close } from "@peerbar/linux";
import { afterAll, beforeAll, describe, it } from "vitest";
import { markKernelRevoked } from "../src/buffers/kernel-revoked.js";
import { EduDevice } from "../src/edu.js";
import { NativeHost, NativeIommu } from "../src/index.js";
import { SelftestDevice, SelftestExporter } from "../src/selftest.js";
import { BarMemory } from "./bar-memory.js";
import { ending, teardown, turn } from "./fixture-ends.js";
import { first, labDevices, nothingOpen } from "./machine.js";

const devices = labDevices();
/** One for all cases: opening and closing a device resets it twice. */
let host: NativeHost;
beforeAll(() => {
  host = new NativeHost();
});
afterAll(async () => {
  await host.close();
  await nothingOpen();
});

const eduImporter: ImporterSubject = {
  role: "importer",
  name: "iommufd of the kernel, vfio-pci and edu",
  capabilities: ["fd", "revocable", "final", "pins", "dma"],
  turn,
  teardown,
  setup: async (): Promise<ImporterFixture> => {
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

registerSuite({ describe, it }, importerCases, selftestImporter);
registerSuite({ describe, it }, importerCases, eduImporter);
