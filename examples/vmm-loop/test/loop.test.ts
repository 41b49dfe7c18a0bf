import { type Iova, iova } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { Iommufd } from "@peerbar/iommufd";
import { generateServer, P2pdma } from "@peerbar/p2pdma";
import { Machine } from "@peerbar/pcie-sim";
import { VfioPci } from "@peerbar/vfio-pci";
import { expect, test } from "vitest";
import { PassthroughDevice, serve } from "../src/passthrough.js";

const AT = iova(0x40_0000_0000n);
const hello = new TextEncoder().encode("hello");

/** A guest with a GPU and a NIC; the NIC's DMA goes through the guest's address space. */
async function guest() {
  const topology = generateServer();
  const iommu = new MockIommu();
  const machine = Machine.from(topology, { iommu });
  const vfio = new VfioPci({ p2pdma: new P2pdma(topology) });
  const gpu = await vfio.open(machine.function("0000:1b:00.0"));
  const nic = machine.function("0000:1d:00.0");
  const iommufd = new Iommufd(iommu);
  const ioas = iommufd.allocIoas();
  ioas.attach(nic);
  const bars = [{ bar: 2, at: AT, length: 0x20_0000n }];
  const device = await PassthroughDevice.open(gpu, ioas, bars);
  const write = async (at: Iova) => (await nic.engine.write(at, hello)).status;
  return { machine, device, gpu, nic, ioas, iommufd, iommu, write };
}

const command = (value: number) => ({ kind: "config", offset: 4, size: 2, value }) as const;

test("the guest's NIC writes into the GPU at the guest's own address", async () => {
  const { machine, device, write } = await guest();
  expect(device.mapped).toEqual([2]);
  expect(await write(AT)).toBe("ok");
  expect(machine.function("0000:1b:00.0").bar(2).peek(0, 5)).toEqual(hello);
});

test("the guest turns memory off: peers fault; it turns it on: the BAR is back at the same address", async () => {
  const { device, write } = await guest();
  await serve(device, [command(4)]);
  expect(device.mapped).toEqual([]);
  expect(await write(AT)).toBe("iommu-fault");
  await serve(device, [command(6)]);
  expect(device.mapped).toEqual([2]);
  expect(await write(AT)).toBe("ok");
});

test("a reset is over before the guest goes on, and the BAR is mapped again", async () => {
  const { machine, device, write } = await guest();
  await write(AT);
  await serve(device, [{ kind: "reset" }]);
  expect(machine.function("0000:1b:00.0").bar(2).peek(0, 5)).toEqual(new Uint8Array(5));
  expect(await write(AT)).toBe("ok");
});

test("a reset that the VMM did not ask for is followed when it looks again", async () => {
  const { device, gpu, write } = await guest();
  await gpu.reset();
  expect(await write(AT)).toBe("iommu-fault");
  await device.follow();
  expect(await write(AT)).toBe("ok");
});

test("unplug leaves nothing behind", async () => {
  const { device, gpu, nic, ioas, iommufd, iommu, write } = await guest();
  await serve(device, [{ kind: "unplug" }, { kind: "reset" }]); // the loop ends at the unplug
  expect(await write(AT)).toBe("iommu-fault");
  expect(gpu.closed).toBe(true);
  expect(gpu.buffers).toBe(0);
  ioas.detach(nic);
  await iommufd.close();
  expect(iommu.usage.tablePages).toBe(0);
});
