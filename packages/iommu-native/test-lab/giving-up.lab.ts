import { setTimeout } from "node:timers/promises";
import { FenceContext } from "@peerbar/core";
import { Iommufd } from "@peerbar/iommufd";
import { expect, it } from "vitest";
import { first, labDevices, withHost } from "./machine.js";

const devices = labDevices();

it("a reset that is given up is not made and refuses nobody; the next waits for what the first waited for (vfio-pci-dmabuf R16)", async () => {
  await withHost(async (host) => {
    const gpu = await host.open(first(devices.memory, "ivshmem"));
    await gpu.setMemory(true);
    const buffer = await gpu.exportDmaBuf({ bar: 2, ranges: [{ offset: 0n, length: 0x1000n }] });
    const fence = new FenceContext(1, "dma of this process").next();
    const held = await buffer.reservation.lock();
    buffer.reservation.reserveFences(held, 1);
    buffer.reservation.addFence(held, fence, "bookkeep");
    held.release();

    const window = gpu.mapBar(2, { offset: 0n, length: 0x1000n });
    window.unmap();
    const abort = new AbortController();
    const given = gpu.reset({ signal: abort.signal });
    await setTimeout(10);
    abort.abort();
    await expect(given).rejects.toMatchObject({ code: "EINTR" });

    const iommufd = new Iommufd(host.iommu);
    const ioas = iommufd.allocIoas();
    const slice = { offset: 0n, length: 0x1000n };
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    expect(mapping.revoked).toBe(false);
    let done = false;
    const reset = gpu.reset().then(() => (done = true));
    await setTimeout(100);
    // Told already, and waited for.
    expect([mapping.revoked, done]).toEqual([true, false]);
    fence.signal();
    await reset;
    await mapping.unmap();
    await iommufd.close();
    buffer.close();
  });
});
