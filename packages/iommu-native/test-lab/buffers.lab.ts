import { spawnSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { dispose, iova, isDmaBufError } from "@peerbar/core";
import { Iommufd } from "@peerbar/iommufd";
import { describe, expect, it } from "vitest";
import {
  allocFromHeap,
  createUdmabuf,
  dmaHeaps,
  NativeDmaBuf,
  NativeIommu,
  VerbsAccess,
  VerbsDevice,
  verbsDevices,
} from "../src/index.js";
import { SelftestDevice, SelftestExporter } from "../src/selftest.js";
import { first, labDevices, nothingOpen, withHost } from "./machine.js";

const devices = labDevices();

const answer = async (run: () => unknown): Promise<string> => {
  try {
    await run();
    return "no error";
  } catch (error) {
    if (isDmaBufError(error)) return `${error.code} ${error.rule ?? "without a rule"}`;
    throw error;
  }
};

describe("buffers of ordinary memory", () => {
  it.each([
    ["udmabuf", () => createUdmabuf(0x4000n)],
    ["system", () => allocFromHeap(0x4000n)],
  ])("%s: size, name, bytes, sync files; iommufd refuses it (iommufd M13)", async (name, make) => {
    const buffer = make();
    expect(buffer.size).toBe(0x4000n);
    expect(buffer.ops.name).toBe(name);
    buffer.setName("lab buffer");
    const info = readFileSync(`/proc/self/fdinfo/${String(buffer.fd)}`, "utf8");
    expect(info).toMatch(/^name:\s+lab buffer$/m);
    expect(readlinkSync(`/proc/self/fd/${String(buffer.fd)}`)).toContain("lab buffer");
    expect(
      await answer(() => {
        buffer.setName("x".repeat(32));
      }),
    ).toMatch(/^EINVAL/);
    expect(buffer.name).toBe("lab buffer");

    const write = buffer.mmap({ offset: 0n, length: 0x4000n });
    const read = buffer.mmap({ offset: 0x1000n, length: 0x1000n });
    await buffer.withCpuAccess("to-device", () => {
      write.bytes.set([1, 2, 3], 0x1000);
    });
    await buffer.withCpuAccess("from-device", () => {
      expect([...read.bytes.subarray(0, 4)]).toEqual([1, 2, 3, 0]);
    });
    expect(buffer.references).toBe(3);
    write.unmap();
    read.unmap();

    const file = buffer.exportSyncFile("rw");
    expect(file.fence.signaled).toBe(true);
    await file.fence.wait();
    await buffer.importSyncFile(file, "write");
    file.close();

    const iommu = new NativeIommu();
    const space = iommu.allocAddressSpace();
    const slice = { offset: 0n, length: 0x4000n };
    expect(await answer(() => space.map("fd", buffer.fd, { slice, access: "rw" }))).toBe(
      "EOPNOTSUPP iommufd M13",
    );
    iommu.close();
    buffer.close();
    await nothingOpen();
  });

  it("refusals name their rule (dma-buf R5, R55, R58)", async () => {
    expect(await answer(() => createUdmabuf(0x1001n))).toMatch(/^EINVAL/);
    expect(await answer(() => createUdmabuf(65n << 20n))).toBe("EINVAL dma-buf R55");
    expect(await answer(() => allocFromHeap(0n))).toBe("EINVAL dma-buf R58");
    expect(await answer(() => allocFromHeap(0x1000n, { heap: "../null" }))).toMatch(/^EINVAL/);
    expect(await answer(() => allocFromHeap(0x1000n, { heap: "none-such" }))).toMatch(/^ENOENT/);
    expect(await answer(() => NativeDmaBuf.fromFd(0))).toBe("EINVAL dma-buf R5");
    expect(dmaHeaps()).toContain("system");
    await nothingOpen();
  });
});

describe("the kernel's own selftest of iommufd", () => {
  it("its reference sequence (iommufd R37)", async () => {
    const iommu = new NativeIommu();
    const device = new SelftestDevice(iommu, "mock");
    const exporter = new SelftestExporter(iommu);
    const ioas = new Iommufd(iommu).allocIoas();
    ioas.attach(device);
    expect(ioas.alignment).toBe(2048n);
    const [range] = ioas.ranges;
    expect(range).toEqual({ first: 0x100_0000n, last: 0x7fff_ffffn });
    const buffer = exporter.export(0x4000);
    const { space } = ioas;
    const map = (offset: bigint, length: bigint) => () =>
      space.map("fd", buffer.fd, { slice: { offset, length }, access: "rw" });
    expect(await answer(map(0n, 0n))).toBe("EINVAL iommufd M5");
    expect(await answer(map(0x4000n, 0x1000n))).toBe("EINVAL iommufd M8");
    expect(await answer(map(0n, 0x5000n))).toBe("EINVAL iommufd M8");
    const slice = { offset: 0n, length: buffer.size };
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    await exporter.revoke(buffer, true);
    expect(mapping.revoked).toBe(true);
    const late = ioas.allocHwpt(device);
    expect(late.automatic).toBe(false);
    expect(await answer(map(0n, 0x4000n))).toBe("ENODEV iommufd M10, M14");
    await exporter.revoke(buffer, false);
    expect(
      await answer(() => space.map("fd", buffer.fd, { slice, access: "rw", iova: mapping.iova })),
    ).toBe("EEXIST iommufd M17, R16");
    const second = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    expect(second.revoked).toBe(false);
    expect(await mapping.unmap()).toBe(0x4000n);
    const third = await ioas.mapDmaBuf(buffer, { slice, access: "rw", iova: mapping.iova });
    expect(third.iova).toBe(mapping.iova);
    const copied = ioas.copy(ioas, third.iova, 0x1000n, { access: "r" });
    expect(copied.length).toBe(0x1000n);
    await ioas.close();
    buffer.close();
    device.close();
    iommu.close();
    await nothingOpen();
  });

  it("a copy of a revoked area is another revoked one, and unmaps whole (iommufd R16)", async () => {
    const iommu = new NativeIommu();
    const exporter = new SelftestExporter(iommu);
    const iommufd = new Iommufd(iommu);
    const [from, to] = [iommufd.allocIoas(), iommufd.allocIoas()];
    const buffer = exporter.export(0x2000);
    const slice = { offset: 0n, length: 0x2000n };
    const mapping = await from.mapDmaBuf(buffer, { slice, access: "rw", iova: iova(0x10_0000n) });
    await exporter.revoke(buffer, true);
    const copied = to.copy(from, mapping.iova, 0x2000n, { access: "rw" });
    expect(copied.revoked).toBe(true);
    expect(await copied.unmap()).toBe(0x2000n);
    await iommufd.close();
    buffer.close();
    iommu.close();
    await nothingOpen();
  });
});

describe("group and container, for kernels without iommufd", () => {
  it("exports BARs, moves their bytes, resets; has no address space", async () => {
    await withHost(
      async (host) => {
        expect(host.api).toBe("group");
        const gpu = await host.open(first(devices.memory, "ivshmem"));
        await gpu.setMemory(true);
        const buffer = await gpu.exportDmaBuf({
          bar: 2,
          ranges: [{ offset: 0x1000n, length: 0x2000n }],
        });
        expect(buffer.size).toBe(0x2000n);
        gpu.writeBar(2, 0x1000n, Uint8Array.of(7, 8));
        const window = gpu.mapBar(2, { offset: 0x1000n, length: 0x1000n });
        expect([...new Uint8Array(window.buffer, 0, 2)]).toEqual([7, 8]);
        await gpu.reset();
        await gpu.setMemory(false);
        // The window is gone before an access through it could kill the process.
        expect([...new Uint8Array(window.buffer.slice(0)).subarray(0, 2)].some(Boolean)).toBe(
          false,
        );
        expect(
          await answer(() => {
            gpu.readBar(2, 0n, new Uint8Array(4));
          }),
        ).toMatch(/^EIO/);
        expect(await answer(() => host.iommu.allocAddressSpace())).toMatch(/^EOPNOTSUPP/);
        const nic = host.function(first(devices.edu, "edu"));
        expect(host.iommu.accepts).toEqual([]);
        expect(nic.pciAddress).toMatch(/^0000:/);
        buffer.close();
      },
      { api: "group" },
    );
  });
});

describe("RDMA through libibverbs", () => {
  /** rxe over a dummy network interface: a driver without dma-buf support. */
  function rxe(): string | undefined {
    const setup = [
      ["ip", "link", "add", "lab0", "type", "dummy"],
      ["ip", "link", "set", "lab0", "up"],
      ["rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "lab0"],
    ];
    for (const [command = "", ...words] of setup) {
      const done = spawnSync(command, words, { encoding: "utf8" });
      if (done.status !== 0) return `${command} ${words.join(" ")}: ${done.stderr.trim()}`;
    }
    return undefined;
  }

  it("rxe has no dma-buf support: EOPNOTSUPP, with the rule and the next step (rdma-umem section 1)", async () => {
    expect(rxe()).toBeUndefined();
    expect(verbsDevices()).toContain("rxe0");
    const device = VerbsDevice.open("rxe0");
    const pd = device.allocPd();
    const buffer = createUdmabuf(0x4000n);
    const slice = { offset: 0n, length: 0x4000n };
    const access = VerbsAccess.LOCAL_WRITE | VerbsAccess.REMOTE_WRITE;
    await expect(
      Promise.resolve().then(() => pd.regDmaBufMr(buffer, { slice, access })),
    ).rejects.toMatchObject({
      code: "EOPNOTSUPP",
      syscall: "ibv_reg_dmabuf_mr",
      rule: "rdma-umem section 1, vfio-pci-dmabuf R10",
    });
    expect(buffer.references).toBe(1);
    expect(await answer(() => VerbsDevice.open("mlx5_9"))).toMatch(/^ENODEV/);
    device[dispose]();
    expect(await answer(() => device.allocPd())).toMatch(/^EBADF/);
    buffer.close();
    spawnSync("rdma", ["link", "delete", "rxe0"]);
    spawnSync("ip", ["link", "delete", "lab0"]);
    await nothingOpen();
  });
});
