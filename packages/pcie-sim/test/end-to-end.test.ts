import { busAddr, type DmaAddr } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { Iommufd } from "@peerbar/iommufd";
import { acsBits, P2pdma, type PciTopology } from "@peerbar/p2pdma";
import { VfioPci } from "@peerbar/vfio-pci";
import { describe, expect, it } from "vitest";
import { Machine } from "../src/index.js";
import { FAR_NIC, GPU, MIB, NIC, NIC_PORT, server } from "./topologies.js";

const HELLO = new TextEncoder().encode("hello, peer");
const KERNEL = acsBits.SV | acsBits.RR | acsBits.CR | acsBits.UF;

async function setUp(topology: PciTopology) {
  const iommu = new MockIommu({ mode: "dma" });
  const machine = Machine.from(topology, { iommu });
  const p2pdma = new P2pdma(topology, { cpu: "amd-zen" });
  const vfio = new VfioPci({ p2pdma });
  const gpu = machine.function(GPU);
  const device = await vfio.open(gpu);
  return { iommu, machine, vfio, gpu, device };
}

describe("vfio-pci, iommufd and the machine", () => {
  it("iommufd R14, vfio-pci-dmabuf R16: bytes arrive through an IOVA, a reset ends that for good, memory is untouched", async () => {
    const { iommu, machine, gpu, device } = await setUp(server({ acs: KERNEL, rootAcs: KERNEL }));
    const nic = machine.function(NIC);
    const buffer = await device.exportDmaBuf({ bar: 2, ranges: [{ offset: MIB, length: MIB }] });
    const ioas = new Iommufd(iommu).allocIoas();
    ioas.attach(nic);
    const mapping = await ioas.mapDmaBuf(buffer, {
      slice: { offset: 0n, length: MIB },
      access: "rw",
    });
    const target = busAddr(mapping.iova + 0x10n);
    expect((await nic.engine.write(target, HELLO)).status).toBe("ok");
    expect(gpu.bar(2).peek(MIB + 0x10n, HELLO.length)).toEqual(HELLO);
    expect(gpu.bar(2).dirtyPages()).toEqual([256]);
    await device.reset();
    expect(gpu.decodesMemory).toBe(true);
    machine.clean();
    expect(await nic.engine.write(target, HELLO)).toEqual({
      status: "iommu-fault",
      transferred: 0,
      at: target,
    });
    expect(machine.dirty()).toEqual([]);
    expect(iommu.faults.size).toBe(1);
  });

  it("a revoke in the middle of a transfer: everything before it arrived, nothing after it", async () => {
    const { iommu, machine, gpu, device } = await setUp(server({ acs: KERNEL, rootAcs: KERNEL }));
    const nic = machine.function(NIC);
    const length = 8n * MIB;
    const buffer = await device.exportDmaBuf({ bar: 2, ranges: [{ offset: 0n, length }] });
    const ioas = new Iommufd(iommu).allocIoas();
    ioas.attach(nic);
    const mapping = await ioas.mapDmaBuf(buffer, { slice: { offset: 0n, length }, access: "rw" });
    const writing = nic.engine.write(busAddr(mapping.iova), new Uint8Array(Number(length)).fill(5));
    await Promise.resolve();
    // The memory bit goes off: vfio-pci revokes before it writes the register.
    await device.writeConfig(4, 2, 4);
    const done = await writing;
    expect(done.status).toBe("iommu-fault");
    expect(done.transferred).toBeGreaterThan(0);
    expect(done.transferred).toBeLessThan(Number(length));
    expect(gpu.bar(2).dirtyPages().length).toBe(done.transferred / 4096);
  });

  it("vfio-pci-dmabuf triggers: a hot reset of the bus goes through the machine, and buffers map again", async () => {
    const { machine, vfio, gpu, device } = await setUp(server());
    const buffer = await device.exportDmaBuf({ bar: 2, ranges: [{ offset: 0n, length: MIB }] });
    let invalidated = 0;
    const attachment = buffer.attach(machine.function(NIC), {
      allowPeer2Peer: true,
      invalidateMappings: () => {
        invalidated += 1;
      },
    });
    gpu.bar(2).poke(0, HELLO);
    await vfio.hotReset([device], { resetBus: () => machine.resetBus("0000:02:00.0") });
    expect(invalidated).toBe(2);
    expect(gpu.bar(2).peek(0, HELLO.length)).toEqual(new Uint8Array(HELLO.length));
    const held = await buffer.reservation.lock();
    const table = attachment.map("bidirectional", held);
    const [entry] = table;
    expect(entry?.address).toBe(gpu.bar(2).busStart);
    expect(machine.function(NIC).engine.writeNow(gpu.bar(2).busStart, HELLO).status).toBe("ok");
    attachment.unmap(table, "bidirectional", held);
    held.release();
  });

  it("known-bugs B46: ACS that changes after the mapping was made shows as a fault, never as wrong bytes", async () => {
    const { machine, gpu, device } = await setUp(server({ acs: 0 }));
    const nic = machine.function(NIC);
    const buffer = await device.exportDmaBuf({ bar: 2, ranges: [{ offset: 0n, length: MIB }] });
    const attachment = buffer.attach(nic, {
      allowPeer2Peer: true,
      invalidateMappings: () => undefined,
    });
    const held = await buffer.reservation.lock();
    const [entry] = attachment.map("bidirectional", held);
    const address = entry?.address ?? (0n as DmaAddr);
    expect(nic.engine.writeNow(address, HELLO).status).toBe("ok");
    machine.clean();
    machine.function(NIC_PORT).writeConfig(0x106, 2, KERNEL);
    expect(nic.engine.writeNow(address, HELLO).status).toBe("iommu-fault");
    expect(machine.dirty()).toEqual([]);
    expect(gpu.bar(2).peek(0, HELLO.length)).toEqual(HELLO);
    held.release();
  });

  it("an ATS translation outlives the mapping: the stale address still reaches the BAR, unless the port blocks translated requests", async () => {
    const { machine, gpu, device } = await setUp(server({ acs: KERNEL, rootAcs: KERNEL }));
    const nic = machine.function(NIC);
    const buffer = await device.exportDmaBuf({ bar: 2, ranges: [{ offset: MIB, length: MIB }] });
    const attachment = buffer.attach(nic, {
      allowPeer2Peer: true,
      invalidateMappings: () => undefined,
    });
    const held = await buffer.reservation.lock();
    const table = attachment.map("bidirectional", held);
    const [entry] = table;
    const iova = entry?.address ?? (0n as DmaAddr);
    const cached = nic.engine.requestTranslation(iova, Number(MIB), true);
    expect(cached).toEqual({ address: gpu.bar(2).start + MIB, length: Number(MIB) });
    attachment.unmap(table, "bidirectional", held);
    held.release();
    expect(nic.engine.requestTranslation(iova, 1, true)).toBeUndefined();
    const stale = cached?.address ?? (0n as DmaAddr);
    expect(nic.engine.writeNow(stale, HELLO, { translated: true }).status).toBe("ok");
    expect(gpu.bar(2).peek(MIB, HELLO.length)).toEqual(HELLO);
    machine.function(NIC_PORT).writeConfig(0x106, 2, KERNEL | acsBits.TB);
    const blocked = nic.engine.writeNow(stale, HELLO, { translated: true });
    expect(blocked.status).toBe("completer-abort");
  });

  it("dma-iova R19: an IOVA never falls into the window of a peer", async () => {
    const { machine, device } = await setUp(server());
    const far = machine.function(FAR_NIC);
    const buffer = await device.exportDmaBuf({ bar: 2, ranges: [{ offset: 0n, length: MIB }] });
    const attachment = buffer.attach(far, {
      allowPeer2Peer: true,
      invalidateMappings: () => undefined,
    });
    const held = await buffer.reservation.lock();
    for (let i = 0; i < 50; i++) {
      const [entry] = attachment.map("bidirectional", held);
      const address = entry?.address ?? (0n as DmaAddr);
      for (const fn of machine.functions) {
        for (const bar of fn.memoryBars) {
          const apart = address + MIB <= bar.busStart || address >= bar.busStart + bar.length;
          expect(apart).toBe(true);
        }
      }
      expect(far.engine.writeNow(address, HELLO).status).toBe("ok");
    }
    held.release();
  });
});
