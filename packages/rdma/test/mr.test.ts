import { ADDRESS_LIMIT, DmaBufError, type DmaBufEvent } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import {
  MrAccess,
  type MrMode,
  type MrRequest,
  type ProviderProfile,
  pageSizes,
  providers,
  RdmaDevice,
  type RdmaDeviceOptions,
  softProfile,
} from "../src/index.js";
import { FakeExporter, fakeNic, span, turns } from "./fixtures/exporter.js";

const { LOCAL_WRITE, REMOTE_READ, REMOTE_WRITE, REMOTE_ATOMIC, ON_DEMAND } = MrAccess;
const ALL = LOCAL_WRITE | REMOTE_READ | REMOTE_WRITE;

function setup(options: RdmaDeviceOptions = {}, wantsRevocable = false) {
  const { fn, engine } = fakeNic();
  const events: DmaBufEvent[] = [];
  const device = new RdmaDevice(fn, {
    events: { emit: (event) => events.push(event) },
    ...options,
  });
  const pd = device.allocPd();
  const exporter = new FakeExporter([span(0x10_0000, 16)], { pin: true, wantsRevocable });
  const request = (change: Partial<MrRequest> = {}): MrRequest => ({
    offset: 0n,
    length: 0x1000n,
    iova: 0x10_0000n,
    access: ALL,
    ...change,
  });
  const reg = (change: Partial<MrRequest> = {}) => pd.regDmaBufMr(exporter.buffer, request(change));
  return { device, pd, exporter, request, reg, engine, events };
}

function profile(change: Partial<ProviderProfile>): RdmaDeviceOptions {
  return { profile: { ...softProfile, ...change } };
}

function expectNothingLeft(exporter: FakeExporter): void {
  expect(exporter.attachments).toBe(0);
  expect(exporter.mapped).toBe(0);
  expect(exporter.buffer.references).toBe(1);
  expect(exporter.buffer.reservation.isLocked).toBe(false);
}

describe("registration", () => {
  it("rdma-umem R30: the errors in order", async () => {
    const wrong = { iova: 0x10_0800n, access: REMOTE_WRITE | ON_DEMAND, length: 0n };
    const none = setup({ profile: providers.none });
    await expect(none.reg(wrong)).rejects.toMatchObject({
      code: "EOPNOTSUPP",
      rule: "rdma-umem R30",
    });
    const { exporter, reg } = setup();
    const cases: readonly (readonly [Partial<MrRequest>, RegExp])[] = [
      [wrong, /low 12 bits/],
      [{ ...wrong, iova: 0n }, /access flags 0x40 are not taken/],
      [{ ...wrong, iova: 0n, access: MrAccess.MW_BIND }, /not taken/],
      [{ ...wrong, iova: 0n, access: REMOTE_WRITE }, /need LOCAL_WRITE/],
      [{ ...wrong, iova: 0n, access: REMOTE_ATOMIC }, /need LOCAL_WRITE/],
      [{ ...wrong, iova: 0n, access: 0 }, /a size of 0/],
    ];
    for (const [change, reason] of cases) {
      await expect(reg(change)).rejects.toMatchObject({
        code: "EINVAL",
        message: expect.stringMatching(reason) as unknown,
      });
    }
    expect(exporter.steps).toEqual([]);
    expectNothingLeft(exporter);
    await (await reg({ access: MrAccess.RELAXED_ORDERING })).dereg();
  });

  it("rdma-umem R30: what the uAPI cannot carry is EINVAL: an iova that is no u64, flags that are no u32", async () => {
    const { exporter, pd, reg } = setup();
    for (const iova of [-0x1000n, ADDRESS_LIMIT, ADDRESS_LIMIT + 0x1000n]) {
      await expect(reg({ iova })).rejects.toMatchObject({ code: "EINVAL", rule: "rdma-umem R30" });
    }
    const whole = { buffer: exporter.buffer, fdOffset: 0n, length: 0x1000n, iova: 0n };
    for (const access of [2 ** 32, 2 ** 32 + ALL, -(2 ** 32), Number.NaN, ALL + 0.5, -1]) {
      const refusal = { code: "EINVAL", rule: "rdma-umem R30" };
      await expect(reg({ access })).rejects.toMatchObject(refusal);
      await expect(pd.regMr({ ...whole, access })).rejects.toMatchObject(refusal);
    }
    expect(exporter.steps).toEqual([]);
    expectNothingLeft(exporter);
    // The last page of the space is one.
    await (await reg({ iova: ADDRESS_LIMIT - 0x1000n })).dereg();
  });

  it("rdma-umem R30, R31: the driver hears of a DMA handle or ON_DEMAND only after the verb's own checks", async () => {
    const { pd, exporter } = setup({ profile: providers.irdma });
    const whole = { buffer: exporter.buffer, fdOffset: 0n, length: 0x1000n, iova: 0n, access: ALL };
    for (const asked of [{ dmaHandle: {} }, { access: ALL | ON_DEMAND }]) {
      const attributes = { ...whole, ...asked };
      const cases = [
        [{ ...attributes, iova: 0x800n }, "EINVAL"],
        [{ ...attributes, access: attributes.access & ~LOCAL_WRITE }, "EINVAL"],
        // What the driver looks at next (R26).
        [{ ...attributes, length: ADDRESS_LIMIT }, "EOPNOTSUPP"],
      ] as const;
      for (const [wrong, code] of cases) {
        await expect(pd.regMr(wrong)).rejects.toMatchObject({ code });
      }
    }
    const none = setup({ profile: providers.none }).pd;
    await expect(none.regMr({ ...whole, iova: 0x800n })).rejects.toMatchObject({
      code: "EOPNOTSUPP",
      rule: "rdma-umem R30",
    });
    expectNothingLeft(exporter);
  });

  it("rdma-umem R26: longer than the device takes is EINVAL, before the buffer is looked at", async () => {
    const { exporter, reg } = setup(profile({ maxMrSize: 0x2000n }));
    exporter.buffer.close();
    await expect(reg({ length: 0x2001n })).rejects.toMatchObject({
      code: "EINVAL",
      rule: "rdma-umem R26",
    });
    await expect(reg()).rejects.toMatchObject({ code: "EBADF" });
  });

  it("rdma-umem R31: REG_MR wants a buffer with an offset or an address without", async () => {
    const { pd, exporter } = setup();
    const { buffer } = exporter;
    const base = { length: 0x1000n, iova: 0x10_0000n, access: ALL };
    const wrong = [
      { ...base, buffer },
      { ...base, buffer, fdOffset: 0n, addr: 0n },
      { ...base },
      { ...base, addr: 0n, fdOffset: 0n },
      { ...base, buffer, fdOffset: 0x800n },
      { ...base, buffer, fdOffset: 0n, access: undefined as unknown as number },
    ];
    for (const attributes of wrong) {
      await expect(pd.regMr(attributes)).rejects.toMatchObject({ code: "EINVAL" });
    }
    await expect(pd.regMr({ ...base, addr: 0n })).rejects.toMatchObject({ code: "EOPNOTSUPP" });
    expectNothingLeft(exporter);
    const mr = await pd.regMr({
      ...base,
      buffer,
      fdOffset: 0x1000n,
      access: ALL | ON_DEMAND,
      mode: "dynamic",
    });
    expect(mr).toMatchObject({ iova: 0x10_0000n, length: 0x1000n, access: ALL });
    await mr.dereg();
  });

  it("rdma-umem R26, R31: efa, mana, irdma and bnxt_re refuse a DMA handle with EOPNOTSUPP", async () => {
    for (const name of ["efa", "mana", "irdma", "bnxt_re"] as const) {
      const { pd, exporter } = setup({ profile: providers[name] });
      const attributes = {
        buffer: exporter.buffer,
        fdOffset: 0n,
        length: 0x1000n,
        iova: 0n,
        access: 0,
      };
      await expect(pd.regMr({ ...attributes, dmaHandle: {} })).rejects.toMatchObject({
        code: "EOPNOTSUPP",
      });
      await (await pd.regMr(attributes)).dereg();
      expectNothingLeft(exporter);
    }
  });

  it("rdma-umem R32: the buffer may be closed at once; the region keeps it until dereg", async () => {
    for (const mode of ["pinned", "pinned-revocable", "dynamic"] as const) {
      const { exporter, reg } = setup();
      const mr = await reg({ mode });
      exporter.buffer.close();
      await turns();
      expect(exporter.buffer.released).toBe(false);
      await mr.dereg();
      await turns();
      expect(exporter.steps.at(-1)).toBe("release");
    }
  });

  it("rdma-umem R36: no page size is the driver's errno, and everything is undone, the key too", async () => {
    for (const mode of ["pinned", "pinned-revocable", "dynamic"] as const) {
      for (const noPageSize of ["EOPNOTSUPP", "EINVAL"] as const) {
        const { device, exporter, reg } = setup(profile({ noPageSize, pageSizes: 1n << 30n }));
        const code = mode === "dynamic" ? "EINVAL" : noPageSize;
        await expect(reg({ mode, iova: 0x20_0000n })).rejects.toMatchObject({
          code,
          rule: "rdma-umem R36",
        });
        expectNothingLeft(exporter);
        expect(device.region(0x100)).toBeUndefined();
      }
    }
    expect(providers.irdma.noPageSize).toBe("EOPNOTSUPP");
    expect(providers.efa.noPageSize).toBe("EOPNOTSUPP");
    expect(providers.mana.noPageSize).toBe("EINVAL");
    expect(providers.bnxt_re.noPageSize).toBe("EINVAL");
  });

  it("ENOMEM where every key is taken, and the buffer is let go", async () => {
    const { exporter, reg } = setup({ keyIndexes: 2 });
    const first = await reg();
    await expect(reg()).rejects.toMatchObject({ code: "ENOMEM" });
    await expect(reg({ mode: "dynamic" })).rejects.toMatchObject({ code: "ENOMEM" });
    expect(exporter.attachments).toBe(1);
    await first.dereg();
    expectNothingLeft(exporter);
    await (await reg()).dereg();
  });

  it("gives up waiting for the reservation with EINTR, and leaves nothing", async () => {
    for (const mode of ["pinned", "pinned-revocable", "dynamic"] as const) {
      const { pd, exporter, request } = setup();
      const held = await exporter.buffer.reservation.lock();
      const controller = new AbortController();
      const registering = pd.regDmaBufMr(exporter.buffer, request({ mode }), {
        signal: controller.signal,
      });
      const outcome = expect(registering).rejects.toMatchObject({ code: "EINTR" });
      controller.abort();
      await turns();
      held.release();
      await outcome;
      expectNothingLeft(exporter);
    }
  });
});

describe("provider profiles", () => {
  it("rdma-umem section 1, R16: who only pins is refused by an exporter that revokes", async () => {
    for (const provider of Object.values(providers)) {
      const { exporter, reg } = setup({ profile: provider }, true);
      if (provider.importsVfio) {
        const mr = await reg();
        expect(mr.mode).toBe(provider.modes[0]);
        await mr.dereg();
      } else {
        await expect(reg()).rejects.toMatchObject({ code: "EOPNOTSUPP" });
      }
      expectNothingLeft(exporter);
      expect(provider.source).toMatch(/^drivers\/infiniband\/.*rdma-umem/);
    }
  });

  it("a mode the driver does not have is EOPNOTSUPP naming those it has", async () => {
    const { reg } = setup({ profile: providers.irdma });
    await expect(reg({ mode: "dynamic" })).rejects.toMatchObject({
      code: "EOPNOTSUPP",
      hint: expect.stringContaining("pinned-revocable") as unknown,
    });
  });
});

describe("keys", () => {
  it("rdma-umem R17, B33: a revoked region keeps its key until dereg", async () => {
    const { device, exporter, reg } = setup({ keyIndexes: 4 });
    const dead = await reg();
    await exporter.move(true);
    await exporter.move(false);
    expect(dead.state).toBe("revoked");
    const others = [await reg(), await reg()];
    expect(new Set([dead, ...others].map((mr) => mr.rkey)).size).toBe(3);
    await expect(reg()).rejects.toMatchObject({ code: "ENOMEM" });
    expect(device.region(dead.rkey)).toBe(dead);
    await dead.dereg();
    expect(device.region(dead.rkey)).toBeUndefined();
    const next = await reg();
    expect(next.rkey >>> 8).toBe(dead.rkey >>> 8);
    expect(next.rkey).not.toBe(dead.rkey);
    expect(device.region(dead.rkey)).toBeUndefined();
  });
});

describe("deregistration", () => {
  it("rdma-umem R28: hardware, mapping and pin first, the key last", async () => {
    const order: string[] = [];
    const { device, exporter, reg } = setup({ onInvalidateKey: () => order.push("hardware") });
    const mr = await reg({ mode: "pinned-revocable" });
    exporter.steps.length = 0;
    const held = await exporter.buffer.reservation.lock();
    const gone = mr.dereg();
    await turns();
    expect(mr.state).toBe("deregistered");
    expect(device.region(mr.lkey)).toBe(mr);
    held.release();
    await gone;
    expect(order).toEqual(["hardware"]);
    expect(exporter.steps).toEqual(["unmap", "unpin", "detach"]);
    expect(device.region(mr.lkey)).toBeUndefined();
    await mr.dereg();
  });

  it("rdma-umem R24: a dynamic region's dereg beside a revoke ends both, and the revoke finds nothing to do", async () => {
    const { exporter, reg, events } = setup();
    const mr = await reg({ mode: "dynamic" });
    const held = await exporter.buffer.reservation.lock();
    const gone = mr.dereg();
    const revoke = exporter.move(true);
    held.release();
    await Promise.all([gone, revoke]);
    expect(events.filter(({ type }) => type === "rdma-mr-zapped")).toEqual([]);
    expectNothingLeft(exporter);
  });

  it("a domain with regions is EBUSY; closing the device ends everything", async () => {
    const { device, pd, exporter, reg } = setup();
    await reg();
    await reg({ mode: "dynamic" });
    pd.createQp();
    expect(() => {
      pd.dealloc();
    }).toThrow(expect.objectContaining({ code: "EBUSY" }));
    await device.close();
    expectNothingLeft(exporter);
    await expect(reg()).rejects.toMatchObject({ code: "EBADF" });
    expect(() => device.allocPd()).toThrow(expect.objectContaining({ code: "EBADF" }));
  });

  it("closing waits for a registration under way, which finds the device closed and leaves nothing", async () => {
    const { device, exporter, reg } = setup();
    const held = await exporter.buffer.reservation.lock();
    const registering = reg();
    const refused = expect(registering).rejects.toMatchObject({ code: "EBADF" });
    let closed = 0;
    const closes = [device.close(), device.close()].map((close) =>
      close.then(() => {
        closed += 1;
      }),
    );
    await turns();
    expect([closed, exporter.attachments]).toEqual([0, 1]);
    held.release();
    await Promise.all(closes);
    expectNothingLeft(exporter);
    await refused;
  });

  it("closing that failed goes on from there", async () => {
    const { device, exporter, reg } = setup();
    const [mr, second] = [await reg(), await reg()];
    exporter.failing = { step: "unpin", error: new DmaBufError("EIO", "fake.unpin", "broken") };
    await expect(device.close()).rejects.toMatchObject({ code: "EIO" });
    expect([mr.state, second.state]).toEqual(["deregistered", "deregistered"]);
    expect(exporter.buffer.reservation.isLocked).toBe(false);
    exporter.failing = undefined;
    await device.close();
    await device.close();
    expect([device.region(mr.rkey), device.region(second.rkey)]).toEqual([undefined, undefined]);
    expectNothingLeft(exporter);
  });
});

describe("pinned-revocable", () => {
  it("rdma-umem R26, R27: the revoke invalidates the hardware once; nothing more at dereg", async () => {
    const keys: number[] = [];
    const { exporter, reg } = setup({ onInvalidateKey: (key) => keys.push(key) });
    const mr = await reg();
    await exporter.move(true);
    expect(keys).toEqual([mr.lkey]);
    expect([mr.pageSize, mr.entries]).toEqual([undefined, 0]);
    await mr.dereg();
    expect(keys).toEqual([mr.lkey]);
    expectNothingLeft(exporter);
  });

  it("rdma-umem R27: a hardware command that fails asks for a reset, and the unmap goes on", async () => {
    const { device, exporter, reg } = setup({
      onInvalidateKey: () => {
        throw new Error("command timed out");
      },
    });
    const mr = await reg();
    expect(device.resetRequested).toBe(false);
    await exporter.move(true);
    expect(device.resetRequested).toBe(true);
    expect(exporter.mapped).toBe(0);
    expect(mr.state).toBe("revoked");
  });

  it("rdma-umem R29, B34: re-registration of a revoked region is EINVAL unless the memory changes", async () => {
    const { device, exporter, reg } = setup();
    const mr = await reg();
    const fresh = new FakeExporter([span(0x90_0000, 4)], { pin: true });
    await mr.rereg({ access: LOCAL_WRITE });
    expect(mr.access).toBe(LOCAL_WRITE);
    await exporter.move(true);
    for (const change of [{ access: ALL }, { pd: device.allocPd() }, {}]) {
      await expect(mr.rereg(change)).rejects.toMatchObject({
        code: "EINVAL",
        rule: "rdma-umem R29",
      });
    }
    expect(mr.access).toBe(LOCAL_WRITE);
    const key = mr.rkey;
    const translation = { buffer: fresh.buffer, offset: 0x1000n, length: 0x2000n, iova: 0n };
    await mr.rereg({ access: ALL, translation });
    expect(mr).toMatchObject({ rkey: key, access: ALL, length: 0x2000n, iova: 0n, state: "live" });
    expectNothingLeft(exporter);
    await mr.dereg();
    expectNothingLeft(fresh);
  });

  it("rdma-umem R29, B35: new memory of the same buffer does not deadlock with itself; a failure changes nothing", async () => {
    const { exporter, reg } = setup();
    const mr = await reg();
    const translation = {
      buffer: exporter.buffer,
      offset: 0x4000n,
      length: 0x1000n,
      iova: 0x4000n,
    };
    await mr.rereg({ translation });
    expect(mr.iova).toBe(0x4000n);
    await expect(
      mr.rereg({ translation: { ...translation, length: 0x100_0000n } }),
    ).rejects.toMatchObject({ code: "EINVAL" });
    expect(mr).toMatchObject({ iova: 0x4000n, length: 0x1000n, state: "live" });
    expect(exporter.attachments).toBe(1);
    await mr.dereg();
    await expect(mr.rereg({})).rejects.toMatchObject({ code: "EBADF" });
  });

  it("rdma-umem R27, R29: the key stays in use over a re-registration: the old memory's end is not its end", async () => {
    const invalidated: number[] = [];
    const { reg, events } = setup({ onInvalidateKey: (key) => invalidated.push(key) });
    const mr = await reg();
    const fresh = new FakeExporter([span(0x90_0000, 4)], { pin: true });
    const translation = { buffer: fresh.buffer, offset: 0n, length: 0x2000n, iova: 0n };
    await mr.rereg({ translation });
    const told = () => events.filter(({ type }) => type === "rdma-mr-revoked").length;
    expect([mr.state, invalidated, told()]).toEqual(["live", [], 0]);
    await fresh.move(true);
    expect([mr.state, invalidated, told()]).toEqual(["revoked", [mr.rkey], 1]);
  });

  it("rdma-umem R25, R26: new memory meets the checks of a registration", async () => {
    const other = fakeNic("0000:4d:00.0").fn;
    const { exporter, reg } = setup({ ...profile({ maxMrSize: 0x2000n }), dataDirect: other });
    const memory = { buffer: exporter.buffer, offset: 0n, length: 0x3000n, iova: 0n };
    const mr = await reg();
    await expect(mr.rereg({ translation: memory })).rejects.toMatchObject({
      code: "EINVAL",
      rule: "rdma-umem R26",
    });
    const direct = await reg({ mode: "data-direct" });
    const inside = { ...memory, offset: 0x200n, length: 0x1000n, iova: 0x200n };
    await expect(direct.rereg({ translation: inside })).rejects.toMatchObject({
      code: "EOPNOTSUPP",
      rule: "rdma-umem R25",
    });
    expect([mr.state, direct.state, exporter.attachments]).toEqual(["live", "live", 2]);
  });

  it("rdma-umem R29: one change at a time: the second is EBUSY, and no memory is left behind", async () => {
    const { reg, pd } = setup();
    const mr = await reg();
    const fresh = new FakeExporter([span(0x90_0000, 4)], { pin: true });
    const translation = { buffer: fresh.buffer, offset: 0n, length: 0x2000n, iova: 0n };
    const changes = [mr.rereg({ translation }), mr.rereg({ translation }), mr.rereg({})];
    expect((await Promise.allSettled(changes)).map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "rejected",
    ]);
    await expect(changes[1]).rejects.toMatchObject({ code: "EBUSY" });
    expect(fresh.attachments).toBe(1);
    await mr.rereg({ access: LOCAL_WRITE });
    await mr.dereg();
    expectNothingLeft(fresh);
    expect([...pd.regions]).toEqual([]);
  });

  it("rdma-umem R28, R29: dereg beside a change ends both memories before the key is free", async () => {
    const { device, exporter, reg } = setup();
    const mr = await reg();
    const fresh = new FakeExporter([span(0x90_0000, 4)], { pin: true });
    const translation = { buffer: fresh.buffer, offset: 0n, length: 0x2000n, iova: 0n };
    const held = await fresh.buffer.reservation.lock();
    const change = mr.rereg({ translation });
    const gone = mr.dereg();
    await turns();
    expect([device.region(mr.rkey), exporter.attachments, fresh.attachments]).toEqual([mr, 0, 1]);
    held.release();
    await expect(change).rejects.toMatchObject({ code: "EBADF" });
    await gone;
    expect(device.region(mr.rkey)).toBeUndefined();
    expectNothingLeft(exporter);
    expectNothingLeft(fresh);
  });

  it("rdma-umem R29: a domain that a region is on its way to is in use, and takes it along when it closes", async () => {
    const { device, exporter, reg } = setup();
    const mr = await reg();
    const other = device.allocPd();
    const held = await exporter.buffer.reservation.lock();
    const change = mr.rereg({ pd: other });
    expect(() => {
      other.dealloc();
    }).toThrow(expect.objectContaining({ code: "EBUSY" }));
    const closed = other.close();
    await turns();
    held.release();
    await change;
    await closed;
    expect(mr.state).toBe("deregistered");
    expectNothingLeft(exporter);
    await expect((await reg()).rereg({ pd: other })).rejects.toMatchObject({ code: "EBADF" });
  });

  it("rdma-umem R29: moves between domains of its device only", async () => {
    const { device, pd, reg } = setup();
    const mr = await reg();
    const other = device.allocPd();
    await mr.rereg({ pd: other });
    expect([[...pd.regions], [...other.regions]]).toEqual([[], [mr]]);
    await expect(mr.rereg({ pd: setup().pd })).rejects.toMatchObject({ code: "EINVAL" });
  });
});

describe("dynamic", () => {
  it("rdma-umem R20: registration faults the whole length in; it is never pinned", async () => {
    const { exporter, reg, events } = setup();
    const mr = await reg({ mode: "dynamic", length: 0x8000n });
    expect(mr.pageSize).toBe(0x8000n);
    expect(exporter.steps).toEqual(["attach", "map bidirectional"]);
    expect(events.filter(({ type }) => type === "rdma-page-fault")).toHaveLength(1);
    await mr.dereg();
  });

  it("rdma-umem R20: ENODEV where the exporter is revoked, at attach and at the first fault", async () => {
    const { exporter, reg } = setup();
    exporter.revoked = true;
    await expect(reg({ mode: "dynamic" })).rejects.toMatchObject({ code: "ENODEV" });
    exporter.revoked = false;
    const held = await exporter.buffer.reservation.lock();
    const registering = reg({ mode: "dynamic" });
    await turns();
    exporter.revoked = true;
    held.release();
    await expect(registering).rejects.toMatchObject({ code: "ENODEV" });
    expectNothingLeft(exporter);
  });

  it("rdma-umem R21: an invalidation zaps and unmaps before it returns; not mapped, it does nothing", async () => {
    const keys: number[] = [];
    const { exporter, reg } = setup({ onInvalidateKey: (key) => keys.push(key) });
    const mr = await reg({ mode: "dynamic" });
    const held = exporter.buffer.reservation.lockNow();
    exporter.buffer.invalidateMappings(held);
    expect([exporter.mapped, mr.pageSize, mr.state]).toEqual([0, undefined, "live"]);
    exporter.buffer.invalidateMappings(held);
    expect(exporter.buffer.reservation.pending("bookkeep")).toEqual([]);
    held.release();
    expect(keys).toEqual([mr.lkey]);
  });

  it("rdma-umem R22, R34, B42: each fault chooses the page size anew", async () => {
    const { pd, exporter, engine, reg } = setup();
    const mr = await reg({ mode: "dynamic", length: 0x1_0000n, iova: 0n });
    expect(mr.pageSize).toBe(0x1_0000n);
    const qp = pd.createQp();
    qp.connect(qp);
    for (const [at, pageSize] of [
      [0x20_1000, 0x1000n],
      [0x20_4000, 0x4000n],
      [0x40_0000, 0x1_0000n],
    ] as const) {
      await exporter.move(true);
      await exporter.move(false);
      exporter.spans = [span(at, 16)];
      const write = { local: Uint8Array.of(7), remoteAddr: 0x5123n, rkey: mr.rkey };
      expect(await qp.postWrite(write)).toMatchObject({ status: "success" });
      expect(mr.pageSize).toBe(pageSize);
      expect(engine.memory.get(at + 0x5123)).toBe(7);
    }
  });

  it("rdma-umem R22: transfers that fault together map once", async () => {
    const { pd, exporter, reg, events } = setup();
    const mr = await reg({ mode: "dynamic" });
    await exporter.move(true);
    await exporter.move(false);
    exporter.steps.length = 0;
    events.length = 0;
    const writes = [1, 2, 3].map((byte) => {
      const qp = pd.createQp();
      qp.connect(qp);
      return qp.postWrite({ local: Uint8Array.of(byte), remoteAddr: mr.iova, rkey: mr.rkey });
    });
    const done = await Promise.all(writes);
    expect(done.map(({ status }) => status)).toEqual(["success", "success", "success"]);
    expect(exporter.steps).toEqual(["map bidirectional"]);
    expect(events.filter(({ type }) => type === "rdma-page-fault")).toHaveLength(1);
  });

  it("rdma-umem R22: a fault that finds no page size unmaps again", async () => {
    const { pd, exporter, reg } = setup(profile({ pageSizes: 1n << 16n }));
    const mr = await reg({ mode: "dynamic", length: 0x1_0000n, iova: 0n });
    await exporter.move(true);
    await exporter.move(false);
    exporter.spans = [span(0x20_1000, 16)];
    const qp = pd.createQp();
    qp.connect(qp);
    const write = { local: Uint8Array.of(7), remoteAddr: 0n, rkey: mr.rkey };
    expect(await qp.postWrite(write)).toMatchObject({ status: "remote-access-error" });
    expect(exporter.mapped).toBe(0);
  });
});

describe("data-direct", () => {
  it("rdma-umem R25: the second function maps and moves; without one EINVAL; inside a page or on demand EOPNOTSUPP", async () => {
    const second = fakeNic("0000:02:00.0");
    const { pd, exporter, engine, reg } = setup({ dataDirect: second.fn });
    const mode: MrMode = "data-direct";
    await expect(reg({ mode, iova: 0x800n, offset: 0x800n })).rejects.toMatchObject({
      code: "EOPNOTSUPP",
    });
    await expect(
      pd.regMr({
        buffer: exporter.buffer,
        fdOffset: 0n,
        length: 0x1000n,
        iova: 0n,
        access: ON_DEMAND,
        mode,
      }),
    ).rejects.toMatchObject({ code: "EOPNOTSUPP" });
    await expect(setup().reg({ mode })).rejects.toMatchObject({ code: "EINVAL" });
    const mr = await reg({ mode });
    expect(exporter.seen?.device).toBe(second.fn);
    const qp = pd.createQp();
    qp.connect(qp);
    await qp.postWrite({ local: Uint8Array.of(7), remoteAddr: mr.iova, rkey: mr.rkey });
    expect([engine.requests.length, second.engine.requests.length]).toEqual([0, 1]);
  });

  it("rdma-umem R25, R36: removal of the function revokes its regions; KSM pages are bounded by the iova's alignment", async () => {
    const second = fakeNic("0000:02:00.0");
    const { device, exporter, reg } = setup({ dataDirect: second.fn });
    const mr = await reg({ mode: "data-direct", length: 0x1_0000n, iova: 0x10_2000n - 0x2000n });
    const small = await reg({
      mode: "data-direct",
      length: 0x2000n,
      offset: 0x2000n,
      iova: 0x2000n,
    });
    const pinned = await reg({ mode: "pinned" });
    expect([mr.pageSize, small.pageSize]).toEqual([0x1_0000n, 0x2000n]);
    await device.removeDataDirect();
    expect([mr.state, small.state, pinned.state]).toEqual(["revoked", "revoked", "live"]);
    expect(device.region(mr.rkey)).toBe(mr);
    expect(exporter.mapped).toBe(1);
    await expect(reg({ mode: "data-direct" })).rejects.toMatchObject({ code: "EINVAL" });
    await device.close();
    expectNothingLeft(exporter);
  });

  it("rdma-umem R25: removal waits for what is being made with the function, and revokes it too", async () => {
    const second = fakeNic("0000:02:00.0");
    const { device, pd, exporter, request, reg } = setup({ dataDirect: second.fn });
    const mode: MrMode = "data-direct";
    const mr = await reg({ mode });
    const fresh = new FakeExporter([span(0x90_0000, 4)], { pin: true });
    const held = await fresh.buffer.reservation.lock();
    const registering = pd.regDmaBufMr(fresh.buffer, request({ mode }));
    const removing = device.removeDataDirect();
    const late = reg({ mode });
    const refused = expect(late).rejects.toMatchObject({ code: "EINVAL", rule: "rdma-umem R25" });
    await turns();
    expect([mr.state, exporter.attachments]).toEqual(["live", 1]);
    held.release();
    const made = await registering;
    await removing;
    await refused;
    expect([mr.state, made.state, exporter.mapped, fresh.mapped]).toEqual([
      "revoked",
      "revoked",
      0,
      0,
    ]);
    await device.close();
    expectNothingLeft(exporter);
    expectNothingLeft(fresh);
  });

  it("rdma-umem R25: memory that a region changes to while the function goes is revoked with it", async () => {
    const second = fakeNic("0000:02:00.0");
    const { device, reg } = setup({ dataDirect: second.fn });
    const mr = await reg({ mode: "data-direct" });
    const fresh = new FakeExporter([span(0x90_0000, 4)], { pin: true });
    const held = await fresh.buffer.reservation.lock();
    const translation = { buffer: fresh.buffer, offset: 0n, length: 0x1000n, iova: 0n };
    const change = mr.rereg({ translation });
    const removing = device.removeDataDirect();
    await turns();
    held.release();
    await change;
    await removing;
    expect([mr.state, fresh.mapped]).toEqual(["revoked", 0]);
  });
});

describe("a region that reaches the end of the address space", () => {
  it("is EINVAL where it wraps", async () => {
    const { reg, exporter } = setup(profile({ pageSizes: pageSizes(12, 12) }));
    await expect(reg({ iova: ADDRESS_LIMIT - 0x1000n, length: 0x2000n })).rejects.toMatchObject({
      code: "EINVAL",
    });
    expectNothingLeft(exporter);
    await (await reg({ iova: ADDRESS_LIMIT - 0x1000n })).dereg();
  });
});
