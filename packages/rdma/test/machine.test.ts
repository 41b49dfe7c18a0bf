import type { IommuMode } from "@peerbar/iommu-mock";
import { describe, expect, it } from "vitest";
import { MrAccess, type Pd, RdmaDevice } from "../src/index.js";
import { isSame, makeWorld, pattern } from "./fixtures/world.js";

const ALL = MrAccess.LOCAL_WRITE | MrAccess.REMOTE_READ | MrAccess.REMOTE_WRITE;
const RANGES = [
  { offset: 0x40_0000n, length: 0x4_0000n },
  { offset: 0x10_0000n, length: 0x4_0000n },
];
const WHOLE = { offset: 0n, length: 0x8_0000n, iova: 0n, access: ALL };

function loop(pd: Pd) {
  const qp = pd.createQp();
  qp.connect(qp);
  return qp;
}

async function share(mode: IommuMode, route: "bus-addr" | "thru-host-bridge") {
  const world = makeWorld(mode, route);
  const device = await world.vfio.open(world.gpu);
  const buffer = await device.exportDmaBuf({ bar: world.bar.index, ranges: RANGES });
  const rdma = new RdmaDevice(world.nic);
  const seen = (offset: number, length: number): Uint8Array => {
    const bytes = new Uint8Array(length);
    world.bar.memory.read(offset, bytes, 0, length);
    return bytes;
  };
  return { ...world, device, buffer, rdma, pd: rdma.allocPd(), seen };
}

const worlds: readonly (readonly [IommuMode, "bus-addr" | "thru-host-bridge"])[] = [
  ["dma", "bus-addr"],
  ["dma", "thru-host-bridge"],
  ["dma-fq", "thru-host-bridge"],
  ["passthrough", "thru-host-bridge"],
  ["off", "bus-addr"],
];

describe.each(worlds)(
  "a NIC and a GPU's BAR in a simulated machine: IOMMU %s, route %s",
  (mode, route) => {
    it("rdma-umem R7, B9, B39: a slice over two ranges: each byte in its place, and no other byte", async () => {
      const { machine, buffer, rdma, pd, bar, seen, device } = await share(mode, route);
      const mr = await pd.regDmaBufMr(buffer, {
        ...WHOLE,
        offset: 0x3_f800n,
        length: 0x1800n,
        iova: 0x7f_f800n,
      });
      const bytes = pattern(0x1800);
      machine.clean();
      const qp = loop(pd);
      expect(
        await qp.postWrite({ local: bytes, remoteAddr: mr.iova, rkey: mr.rkey }),
      ).toMatchObject({ status: "success" });
      expect(isSame(seen(0x43_f800, 0x800), bytes.subarray(0, 0x800))).toBe(true);
      expect(isSame(seen(0x10_0000, 0x1000), bytes.subarray(0x800))).toBe(true);
      const dirty = machine.dirty();
      expect(dirty).toHaveLength(1);
      expect(dirty[0]?.pages.toSorted((a, b) => a - b)).toEqual([0x100, 0x43f]);
      expect(seen(0x43_f000, 0x800).every((byte) => byte === 0)).toBe(true);
      const into = new Uint8Array(0x1800);
      await qp.postRead({ local: into, remoteAddr: mr.iova, rkey: mr.rkey });
      expect(isSame(into, bytes)).toBe(true);
      expect(bar.length).toBe(1n << 30n);
      await rdma.close();
      await device.close();
    });

    it("rdma-umem R12, R18, R23: after the GPU's reset the pinned region is dead, the dynamic one comes back", async () => {
      const { machine, iommu, buffer, rdma, pd, device, gpu } = await share(mode, route);
      const before = iommu.usage;
      const pinned = await pd.regDmaBufMr(buffer, { ...WHOLE, mode: "pinned-revocable" });
      const dynamic = await pd.regDmaBufMr(buffer, { ...WHOLE, mode: "dynamic" });
      const write = (rkey: number) =>
        loop(pd).postWrite({ local: pattern(64), remoteAddr: 0n, rkey });
      expect(await write(pinned.rkey)).toMatchObject({ status: "success" });
      await device.reset();
      gpu.writeConfig(4, 2, gpu.readConfig(4, 2) | 0x6);
      machine.clean();
      expect(await write(pinned.rkey)).toMatchObject({ status: "remote-access-error", bytes: 0 });
      expect(machine.dirty()).toEqual([]);
      expect(await write(dynamic.rkey)).toMatchObject({ status: "success" });
      expect(machine.dirty()).toHaveLength(1);
      await device.writeConfig(4, 2, 0);
      machine.clean();
      expect(await write(dynamic.rkey)).toMatchObject({ status: "remote-access-error" });
      await expect(pd.regDmaBufMr(buffer, WHOLE)).rejects.toMatchObject({ code: "ENODEV" });
      await expect(pd.regDmaBufMr(buffer, { ...WHOLE, mode: "dynamic" })).rejects.toMatchObject({
        code: "ENODEV",
      });
      expect(machine.dirty()).toEqual([]);
      await rdma.close();
      expect(iommu.usage.iovas).toBe(before.iovas);
      expect(iommu.usage.mappedGranules).toBe(before.mappedGranules);
      expect([...buffer.attachments]).toEqual([]);
      await device.close();
    });

    it("rdma-umem R16: vfio-pci refuses the region that could not be revoked", async () => {
      const { buffer, pd, device } = await share(mode, route);
      await expect(pd.regDmaBufMr(buffer, { ...WHOLE, mode: "pinned" })).rejects.toMatchObject({
        code: "EOPNOTSUPP",
      });
      expect(buffer.references).toBe(1);
      await device.close();
    });
  },
);

describe("two machines", () => {
  it("bytes go from one GPU's BAR over the wire into the other's", async () => {
    const [a, b] = [await share("dma", "bus-addr"), await share("dma", "thru-host-bridge")];
    const [from, to] = [
      await a.pd.regDmaBufMr(a.buffer, WHOLE),
      await b.pd.regDmaBufMr(b.buffer, { ...WHOLE, mode: "dynamic" }),
    ];
    const bytes = pattern(0x4_0000);
    a.bar.memory.write(0x40_0000, bytes, 0, bytes.length);
    const [qp, peer] = [a.pd.createQp(), b.pd.createQp()];
    qp.connect(peer);
    const local = [{ lkey: from.lkey, addr: 0n, length: bytes.length }];
    expect(await qp.postWrite({ local, remoteAddr: 0x2_0000n, rkey: to.rkey })).toMatchObject({
      status: "success",
      bytes: 0x4_0000,
    });
    expect(isSame(b.seen(0x42_0000, 0x2_0000), bytes.subarray(0, 0x2_0000))).toBe(true);
    expect(isSame(b.seen(0x10_0000, 0x2_0000), bytes.subarray(0x2_0000))).toBe(true);
    await a.device.reset();
    expect(await qp.postWrite({ local, remoteAddr: 0n, rkey: to.rkey })).toMatchObject({
      status: "local-protection-error",
    });
    for (const one of [a, b]) {
      await one.rdma.close();
      await one.device.close();
    }
  });
});

describe("storms", () => {
  it("1,000 resets against running transfers, faults and registrations: nothing lost, nothing leaked", async () => {
    const { iommu, buffer, rdma, pd, device, seen } = await share("dma", "thru-host-bridge");
    const usage = iommu.usage;
    const dynamic = await pd.regDmaBufMr(buffer, { ...WHOLE, mode: "dynamic" });
    let stopped = false;
    const seenStatus = new Map<string, number>();
    const count = (status: string): void => {
      seenStatus.set(status, (seenStatus.get(status) ?? 0) + 1);
    };
    const transfers = [1, 2, 3].map(async (seed) => {
      const local = pattern(0x2_0000, seed);
      while (!stopped) {
        using qp = loop(pd);
        count((await qp.postWrite({ local, remoteAddr: 0n, rkey: dynamic.rkey })).status);
        await new Promise((later) => setImmediate(later));
      }
    });
    const registrations = ["pinned-revocable", "dynamic"].map(async (mode) => {
      while (!stopped) {
        try {
          const mr = await pd.regDmaBufMr(buffer, { ...WHOLE, mode: mode as "dynamic" });
          count(`${mode} registered`);
          await mr.dereg();
        } catch (error) {
          count(`${mode} ${(error as { code: string }).code}`);
        }
        await new Promise((later) => setImmediate(later));
      }
    });
    for (let i = 0; i < 1000; i++) {
      await device.reset();
      await new Promise((later) => setImmediate(later));
    }
    stopped = true;
    await Promise.all([...transfers, ...registrations]);
    const known = [
      "success",
      "remote-access-error",
      "pinned-revocable registered",
      "dynamic registered",
      "pinned-revocable ENODEV",
      "dynamic ENODEV",
    ];
    expect(known).toEqual(expect.arrayContaining([...seenStatus.keys()]));
    expect(seenStatus.get("success") ?? 0).toBeGreaterThan(0);
    const last = pattern(0x100, 9);
    expect(
      await loop(pd).postWrite({ local: last, remoteAddr: 0x100n, rkey: dynamic.rkey }),
    ).toMatchObject({ status: "success" });
    expect(isSame(seen(0x40_0100, 0x100), last)).toBe(true);
    await rdma.close();
    expect(iommu.usage).toMatchObject({ iovas: usage.iovas, mappedGranules: usage.mappedGranules });
    expect([...buffer.attachments]).toEqual([]);
    expect(buffer.references).toBe(1);
    await device.close();
  }, 60_000);
});
