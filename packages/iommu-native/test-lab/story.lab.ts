import { setTimeout } from "node:timers/promises";
import { asyncDispose, dispose, hex, type Iova, iova, isDmaBufError } from "@peerbar/core";
import { Iommufd } from "@peerbar/iommufd";
import { describe, expect, it } from "vitest";
import { EduDevice } from "../src/edu.js";
import { FaultLog, type NativeHost, type NativeVfioDevice } from "../src/index.js";
import { driverOf, first, labDevices, withHost } from "./machine.js";

const MIB = 0x10_0000n;
const devices = labDevices();
const code = async (run: () => unknown): Promise<string> => {
  try {
    await run();
    return "no error";
  } catch (error) {
    if (isDmaBufError(error)) return `${error.code} ${error.rule ?? "without a rule"}`;
    throw error;
  }
};

/** QEMU 7.2's AMD-Vi lets the engine's requests vanish, mapped or not, and reports nothing: bytes are tried behind VT-d. */
const withBytes = it.skipIf(process.env.PEERBAR_LAB_IOMMU === "amd");

/** Opens exporter and engine, attaches the engine, shares the first MiB of the exporter's BAR 2. */
async function stage(
  host: NativeHost,
  provider: string,
  client: string,
): Promise<{
  gpu: NativeVfioDevice;
  ioas: ReturnType<Iommufd["allocIoas"]>;
  engine: EduDevice;
  faults: FaultLog;
  end(): Promise<void>;
}> {
  const gpu = await host.open(provider);
  await gpu.setMemory(true);
  const nic = host.function(client);
  const opened = await host.open(nic);
  await opened.setMemory(true);
  const iommufd = new Iommufd(host.iommu);
  const ioas = iommufd.allocIoas();
  ioas.attach(nic);
  const faults = new FaultLog();
  // A log of its own: what the engine reads there must not be missing here.
  const own = new FaultLog();
  const engine = new EduDevice(opened, ioas.space, { faults: own }).drive(nic);
  return {
    gpu,
    ioas,
    engine,
    faults,
    async end() {
      engine[dispose]();
      faults.close();
      own.close();
      await iommufd[asyncDispose]();
    },
  };
}

describe("one program on the running kernel", () => {
  withBytes.each([
    ["the same switch", devices.memory[1], devices.edu[0]],
    ["another root port", devices.memory[0], devices.edu[1]],
  ])(
    "export, import, bytes, reset, fault, recovery: %s (not behind QEMU's AMD-Vi)",
    async (_where, provider, client) => {
      await withHost(async (host) => {
        const scene = await stage(host, provider ?? "", client ?? "");
        const { gpu, ioas, engine, faults } = scene;
        const buffer = await gpu.exportDmaBuf({ bar: 2, ranges: [{ offset: 0n, length: MIB }] });
        expect(buffer.size).toBe(MIB);
        const slice = { offset: 0n, length: buffer.size };
        const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
        expect(hex(mapping.iova)).toMatch(/^0x/);

        const hello = new TextEncoder().encode("hello, peer");
        expect(await engine.write(mapping.iova, hello)).toMatchObject({ status: "ok" });
        const seen = new Uint8Array(hello.length);
        gpu.readBar(2, 0n, seen);
        expect(new TextDecoder().decode(seen)).toBe("hello, peer");
        gpu.writeBar(2, 0x8000n, Uint8Array.of(1, 2, 3, 4));
        const back = new Uint8Array(4);
        expect(await engine.read(iova(mapping.iova + 0x8000n), back)).toMatchObject({
          status: "ok",
        });
        expect([...back]).toEqual([1, 2, 3, 4]);

        await gpu.reset();
        expect(mapping.revoked).toBe(true);
        faults.take();
        const late = await engine.write(mapping.iova, new TextEncoder().encode("too late..."));
        expect(late.status).toBe("iommu-fault");
        expect(faults.take()[0]).toMatchObject({ device: client, iova: mapping.iova, access: "w" });
        gpu.readBar(2, 0n, seen);
        expect(new TextDecoder().decode(seen)).toBe("hello, peer");

        const again = (at?: Iova) => () =>
          ioas.mapDmaBuf(buffer, { slice, access: "rw", iova: at });
        expect(await code(again(mapping.iova))).toBe("EEXIST iommufd M17, R16");
        expect(await mapping.unmap()).toBe(MIB);
        const renewed = await ioas.mapDmaBuf(buffer, { slice, access: "rw", iova: mapping.iova });
        expect(await engine.write(renewed.iova, hello)).toMatchObject({ status: "ok" });
        expect(await renewed.unmap()).toBe(MIB);
        await scene.end();
        buffer.close();
      });
      expect(driverOf(provider ?? "")).toBeUndefined();
    },
  );

  withBytes(
    "a fault is in the kernel's log, with the device and the IOVA (iommufd R19; not behind AMD-Vi)",
    async () => {
      await withHost(async (host) => {
        const client = first(devices.edu, "edu");
        const scene = await stage(host, first(devices.memory, "ivshmem"), client);
        // The kernel logs ten faults in five seconds and passes over the rest: those before this test may have used them up.
        await setTimeout(6_000);
        scene.faults.take();
        const at = iova(0x5000_0000n);
        const done = await scene.engine.write(at, Uint8Array.of(1, 2, 3, 4));
        expect(done.status).toBe("iommu-fault");
        const [fault] = scene.faults.take();
        expect(fault).toMatchObject({ device: client, iova: at, access: "w" });
        expect(fault?.text).toContain("PTE Write access is not set");
        await scene.end();
      });
    },
  );

  it("memory off: map and attach give ENODEV, export works, memory on: maps again (vfio-pci-dmabuf R6, R10, R20)", async () => {
    await withHost(async (host) => {
      const scene = await stage(host, first(devices.memory, "ivshmem"), first(devices.edu, "edu"));
      const { gpu, ioas } = scene;
      const request = { bar: 2, ranges: [{ offset: 0n, length: MIB }] };
      const slice = { offset: 0n, length: MIB };
      const before = await gpu.exportDmaBuf(request);
      const mapping = await ioas.mapDmaBuf(before, { slice, access: "rw" });
      await gpu.setMemory(false);
      expect(mapping.revoked).toBe(true);
      expect(await code(() => ioas.mapDmaBuf(before, { slice, access: "rw" }))).toMatch(/^ENODEV/);
      const born = await gpu.exportDmaBuf(request);
      // The kernel itself, without this process's own check in front of it.
      const space = host.iommu.allocAddressSpace();
      expect(await code(() => space.map("fd", born.fd, { slice, access: "rw" }))).toBe(
        "ENODEV iommufd M10, M14",
      );
      await gpu.setMemory(true);
      space.map("fd", born.fd, { slice, access: "rw" });
      space[dispose]();
      const late = await ioas.mapDmaBuf(before, { slice, access: "rw" });
      expect(late.revoked).toBe(false);
      expect(mapping.revoked).toBe(true);
      expect(await mapping.unmap()).toBe(MIB);
      await late.unmap();
      await scene.end();
      before.close();
      born.close();
    });
  });

  it("the device closed: buffers keep their size, attach gives ENODEV for good (vfio-pci-dmabuf R28)", async () => {
    await withHost(async (host) => {
      const scene = await stage(host, first(devices.memory, "ivshmem"), first(devices.edu, "edu"));
      const buffer = await scene.gpu.exportDmaBuf({
        bar: 2,
        ranges: [{ offset: 0n, length: MIB }],
      });
      const slice = { offset: 0n, length: MIB };
      const mapping = await scene.ioas.mapDmaBuf(buffer, { slice, access: "rw" });
      await scene.gpu.close();
      expect(buffer.seek(0n, 2)).toBe(MIB);
      expect(mapping.revoked).toBe(true);
      expect(await code(() => scene.ioas.mapDmaBuf(buffer, { slice, access: "rw" }))).toMatch(
        /^ENODEV/,
      );
      const space = host.iommu.allocAddressSpace();
      expect(await code(() => space.map("fd", buffer.fd, { slice, access: "rw" }))).toMatch(
        /^ENODEV/,
      );
      expect(await mapping.unmap()).toBe(MIB);
      await scene.end();
      buffer.close();
    });
  });

  it("what the kernel refuses to export, with the rule that decides", async () => {
    await withHost(async (host) => {
      const gpu = await host.open(first(devices.memory, "ivshmem"));
      await gpu.setMemory(true);
      expect(() => {
        gpu.probeExport();
      }).not.toThrow();
      const page = { offset: 0n, length: 0x1000n };
      const size = gpu.region(2).size;
      const asked: readonly [string, number, readonly (typeof page)[]][] = [
        ["EINVAL vfio-pci-dmabuf V11", 2, []],
        ["EINVAL vfio-pci-dmabuf V14", 2, [{ offset: 0x800n, length: 0x1000n }]],
        ["EINVAL vfio-pci-dmabuf V14", 2, [{ offset: 0n, length: 0n }]],
        ["EINVAL vfio-pci-dmabuf V20", 2, [{ offset: size, length: 0x1000n }]],
        ["EINVAL vfio-pci-dmabuf V20", 0, [page]],
        ["ENODEV vfio-pci-dmabuf V12", 1 + 2, [page]],
        ["ENODEV vfio-pci-dmabuf V12", 6, [page]],
        [
          "EOVERFLOW vfio-pci-dmabuf V13, V19",
          2,
          [{ offset: (1n << 64n) - 0x1000n, length: 0x2000n }],
        ],
      ];
      const found: string[] = [];
      for (const [, bar, ranges] of asked)
        found.push(await code(() => gpu.exportDmaBuf({ bar, ranges })));
      expect(found).toEqual(asked.map(([expected]) => expected));
      const twice = await gpu.exportDmaBuf({ bar: 2, ranges: [page, page] });
      expect(twice.size).toBe(0x2000n);
      const space = host.iommu.allocAddressSpace();
      const slice = { offset: 0n, length: 0x2000n };
      expect(await code(() => space.map("fd", twice.fd, { slice, access: "rw" }))).toBe(
        "EOPNOTSUPP iommufd M15",
      );
      twice.close();
    });
  });
});
