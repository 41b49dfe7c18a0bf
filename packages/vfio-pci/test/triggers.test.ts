import { DmaBufError } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { errorOf, refusal, settle } from "./fixtures/errors.js";
import { AF, EXPRESS, FakeFunction, PM } from "./fixtures/fake-function.js";
import { DynamicImporter, fakeDevice } from "./fixtures/fake-importer.js";
import { ONE_PAGE, type Rig, type RigOptions, rig } from "./fixtures/rig.js";

type Shared = Rig & { readonly importer: DynamicImporter; mappable(): Promise<boolean> };

/** A device with one buffer and one importer that maps it. */
async function shared(options?: RigOptions): Promise<Shared> {
  const all = await rig(options);
  const buffer = await all.device.exportDmaBuf(ONE_PAGE);
  const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0"));
  await importer.map();
  const mappable = async (): Promise<boolean> => {
    try {
      await importer.map();
      return true;
    } catch {
      return false;
    }
  };
  return { ...all, importer, mappable };
}

/** Which of revoke and restore the trigger did, in order. */
async function effect(all: Shared, act: () => Promise<unknown>): Promise<string[]> {
  const before = all.events.length;
  await act();
  return all.events
    .slice(before)
    .map(({ type }) => type)
    .filter((type) => type === "revoke" || type === "restore");
}

describe("the command register", () => {
  it("memory bit clear revokes, and stays so; set restores", async () => {
    const all = await shared();
    expect(await effect(all, () => all.device.writeConfig(4, 2, 0x4))).toEqual(["revoke"]);
    expect(all.fn.command).toBe(0x4);
    expect(await effect(all, () => all.device.writeConfig(4, 2, 0x6))).toEqual(["restore"]);
  });

  it("vfio-pci-dmabuf R23: only an access at offset 4 counts; one byte there is enough", async () => {
    const all = await shared();
    expect(await effect(all, () => all.device.writeConfig(5, 1, 0))).toEqual([]);
    expect(await effect(all, () => all.device.writeConfig(4, 1, 0))).toEqual(["revoke"]);
    expect(await effect(all, () => all.device.writeConfig(5, 1, 0xff))).toEqual([]);
    expect(await effect(all, () => all.device.writeConfig(4, 4, 2))).toEqual(["restore"]);
  });

  it("vfio-pci-dmabuf R23: a wide access is cut where it crosses 4, and the piece at 4 counts", async () => {
    const all = await shared();
    expect(await effect(all, () => all.device.writeConfig(2, 4, 0))).toEqual(["revoke"]);
    expect(await effect(all, () => all.device.writeConfig(3, 2, 0x200))).toEqual(["restore"]);
  });

  it("vfio-pci-dmabuf R22: reads show the bits as written, whatever the function shows", async () => {
    const { device, fn } = await rig();
    await device.writeConfig(4, 2, 0x6);
    fn.set(4, 2, 0x4);
    expect(device.readConfig(4, 2)).toBe(0x6);
    expect(device.memoryEnabled).toBe(true);
  });

  it("vfio-pci-dmabuf R27: a store that fails after the revoke leaves the buffer revoked, and the lock free", async () => {
    const all = await shared();
    all.fn.failWritesAt = 4;
    expect((await errorOf(() => all.device.writeConfig(4, 2, 0))).code).toBe("EIO");
    expect(await all.mappable()).toBe(false);
    all.fn.failWritesAt = undefined;
    await all.device.writeConfig(4, 2, 2);
    expect(await all.mappable()).toBe(true);
  });

  it("is left alone by the user's BAR writes, which only size the BAR", async () => {
    const { device, fn } = await rig();
    const before = fn.log.length;
    await device.writeConfig(0x10, 4, 0xffff_ffff);
    expect(device.readConfig(0x10, 4)).toBe(0xff00_0000);
    await device.writeConfig(0x10, 4, 0xe100_0000);
    expect(device.readConfig(0x10, 4)).toBe(0xe100_0000);
    expect(device.readConfig(0x12, 2)).toBe(0xe100);
    await device.writeConfig(0x30, 4, 0xffff_ffff);
    expect(device.readConfig(0x30, 4)).toBe(0);
    expect(fn.log.length).toBe(before);
  });

  it("refuses accesses outside config space", async () => {
    const { device } = await rig();
    for (const offset of [-1, 4096, 4094.5, Number.NaN]) {
      expect((await errorOf(() => device.writeConfig(offset, 4, 0))).code).toBe("EINVAL");
    }
    const size = 3 as 4;
    expect((await errorOf(() => device.readConfig(0, size))).code).toBe("EINVAL");
  });
});

describe("power", () => {
  it("D3hot revokes and does not restore; D0 restores", async () => {
    const all = await shared();
    expect(await effect(all, () => all.device.writeConfig(PM + 4, 2, 3))).toEqual(["revoke"]);
    expect(all.fn.powerState).toBe(3);
    expect(await effect(all, () => all.device.writeConfig(PM + 4, 2, 0))).toEqual(["restore"]);
    expect(all.fn.powerState).toBe(0);
  });

  it.each([1, 2])("D%i takes nothing away", async (state) => {
    const all = await shared();
    expect(await effect(all, () => all.device.writeConfig(PM + 4, 2, state))).toEqual([]);
    expect(all.fn.powerState).toBe(state);
  });

  it("D0 while the memory bit is off restores nothing (vfio-pci-dmabuf R22)", async () => {
    const all = await shared();
    await all.device.writeConfig(4, 2, 0);
    await all.device.writeConfig(PM + 4, 2, 3);
    expect(await effect(all, () => all.device.writeConfig(PM + 4, 2, 0))).toEqual([]);
  });

  it("memory on while in D3 restores nothing (vfio-pci-dmabuf R22)", async () => {
    const all = await shared();
    await all.device.writeConfig(PM + 4, 2, 3);
    expect(await effect(all, () => all.device.writeConfig(4, 2, 2))).toEqual([]);
  });

  it("vfio-pci-dmabuf R24: D3 refused for active virtual functions still revokes and restores", async () => {
    const all = await shared();
    all.fn.enableVfs(2);
    expect(await effect(all, () => all.device.writeConfig(PM + 4, 2, 3))).toEqual([
      "revoke",
      "restore",
    ]);
    expect(all.fn.powerState).toBe(0);
    expect(all.importer.invalidated).toBe(2);
    expect(await all.mappable()).toBe(true);
  });
});

describe("function-level reset", () => {
  const cases = [
    ["flr-express", EXPRESS + 8, 2, 0x8000],
    ["flr-express", EXPRESS + 9, 1, 0x80],
    ["flr-express", EXPRESS + 8, 4, 0x8000],
    ["flr-af", AF + 4, 1, 1],
  ] as const;

  it.each(cases)("%s by a write at 0x%s", async (name, offset, size, value) => {
    const all = await shared();
    const act = (): Promise<void> => all.device.writeConfig(offset, size, value);
    expect(await effect(all, act)).toEqual(["revoke", "restore"]);
    expect(all.fn.log.filter((line) => line === "reset")).toHaveLength(1);
    expect(all.events).toContainEqual({ type: "trigger", device: "0000:3b:00.0", trigger: name });
    // The bit itself is vfio's: it reads 0 and never reaches the function.
    expect(all.device.readConfig(EXPRESS + 8, 2) & 0x8000).toBe(0);
    expect(all.device.readConfig(AF + 4, 1) & 1).toBe(0);
  });

  it("does nothing where the function does not offer it", async () => {
    const all = await shared({ flr: false });
    for (const [, offset, size, value] of cases) {
      expect(await effect(all, () => all.device.writeConfig(offset, size, value))).toEqual([]);
    }
    expect(all.fn.log).not.toContain("reset");
  });

  it("a failed reset is not reported, and memory comes back", async () => {
    const all = await shared();
    all.fn.duringReset = () => {
      throw new DmaBufError("ENOTTY", "reset", "as asked");
    };
    const act = (): Promise<void> => all.device.writeConfig(EXPRESS + 8, 2, 0x8000);
    expect(await effect(all, act)).toEqual(["revoke", "restore"]);
  });

  it("known-bugs B13: memory that is off stays off after the reset", async () => {
    const all = await shared();
    await all.device.writeConfig(4, 2, 0);
    expect(await effect(all, () => all.device.writeConfig(EXPRESS + 8, 2, 0x8000))).toEqual([]);
    expect(await effect(all, () => all.device.reset())).toEqual([]);
  });
});

describe("device reset", () => {
  it("T5: revokes, resets in D0, restores: an importer that maps on demand goes on", async () => {
    const all = await shared();
    await all.device.writeConfig(PM + 4, 2, 3);
    let during: [number, boolean] | undefined;
    all.fn.duringReset = async () => {
      during = [all.fn.powerState, await all.mappable()];
    };
    await all.device.reset();
    expect(during).toEqual([0, false]);
    expect(await all.mappable()).toBe(true);
  });

  it("a failed reset is thrown, after memory came back", async () => {
    const all = await shared();
    all.fn.duringReset = () => {
      throw new DmaBufError("ENOTTY", "reset", "as asked");
    };
    expect((await errorOf(() => all.device.reset())).code).toBe("ENOTTY");
    expect(await all.mappable()).toBe(true);
  });
});

describe("a function without a reset of its own", () => {
  it("VFIO_DEVICE_RESET is EINVAL and revokes nothing, as the kernel lab saw Linux 7.2.13 answer", async () => {
    const all = await shared({ open: { resettable: false } });
    const ask = async (): Promise<void> => {
      expect((await errorOf(() => all.device.reset())).code).toBe("EINVAL");
    };
    expect(await effect(all, ask)).toEqual([]);
    expect(all.importer.invalidated).toBe(0);
    expect(await all.mappable()).toBe(true);
  });
});

describe("low power", () => {
  it("entry revokes without end, exit restores where memory is on", async () => {
    const all = await shared();
    expect(await effect(all, () => all.device.enterLowPower())).toEqual(["revoke"]);
    expect(await effect(all, () => all.device.exitLowPower())).toEqual(["restore"]);
    await all.device.enterLowPower();
    await all.device.writeConfig(4, 2, 0);
    expect(await effect(all, () => all.device.exitLowPower())).toEqual([]);
  });

  it("a second entry is EINVAL, after revoking all the same", async () => {
    const all = await shared({ vfio: { quirks: "linux-7.2" } });
    await all.device.enterLowPower();
    await all.device.writeConfig(4, 2, 2);
    expect(await all.mappable()).toBe(true);
    expect((await errorOf(() => all.device.enterLowPower())).code).toBe("EINVAL");
    expect(await all.mappable()).toBe(false);
  });

  it("known-bugs B14, vfio-pci-dmabuf R26: a command write and an export stay revoked until the exit", async () => {
    const all = await shared();
    await all.device.enterLowPower();
    expect(await effect(all, () => all.device.writeConfig(4, 2, 2))).toEqual([]);
    using born = await all.device.exportDmaBuf(ONE_PAGE);
    const attach = (): unknown => new DynamicImporter(born, fakeDevice("0000:3d:00.0"));
    expect(await refusal(attach)).toBe("ENODEV vfio-pci-dmabuf R10");
    expect(await effect(all, () => all.device.exitLowPower())).toEqual(["restore", "restore"]);
  });

  it("vfio-pci-dmabuf R26: with the quirk both come back while low power is engaged", async () => {
    const all = await shared({ vfio: { quirks: "linux-7.2" } });
    await all.device.enterLowPower();
    using born = await all.device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(born, fakeDevice("0000:3d:00.0"));
    await importer.leave();
    expect(await effect(all, () => all.device.writeConfig(4, 2, 2))).toEqual(["restore"]);
  });

  it("vfio-pci-dmabuf R25: a wake-up ends low power and restores nothing", async () => {
    const all = await shared();
    let woken = 0;
    await all.device.enterLowPower(() => (woken += 1));
    expect(await effect(all, () => all.device.wakeUp())).toEqual([]);
    expect(woken).toBe(1);
    expect(await all.mappable()).toBe(false);
    expect(await effect(all, () => all.device.writeConfig(4, 2, 2))).toEqual(["restore"]);
    await all.device.wakeUp();
    expect(woken).toBe(1);
  });

  it("vfio-pci-dmabuf R25: without a wake-up asked for, low power stays engaged", async () => {
    const all = await shared();
    await all.device.enterLowPower();
    await all.device.wakeUp();
    expect((await errorOf(() => all.device.enterLowPower())).code).toBe("EINVAL");
  });
});

describe("hot reset", () => {
  const two = async (): Promise<{ a: Shared; b: Shared }> => {
    const a = await shared();
    const other = await shared({ address: "0000:3b:00.1" });
    // Both on one bus, opened by one driver.
    await other.device.close();
    const device = await a.vfio.open(other.fn);
    const buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice("0000:3d:00.0"));
    await importer.map();
    const mappable = async (): Promise<boolean> =>
      importer.map().then(
        () => true,
        () => false,
      );
    return { a, b: { ...other, device, importer, mappable } };
  };

  it("revokes every device of the bus before any is reset, then restores each", async () => {
    const { a, b } = await two();
    let during: boolean[] = [];
    a.fn.duringReset = async () => {
      during = [await a.mappable(), await b.mappable()];
    };
    await a.vfio.hotReset([a.device, b.device]);
    expect(during).toEqual([false, false]);
    expect([a.fn.log.includes("reset"), b.fn.log.includes("reset")]).toEqual([true, true]);
    expect([await a.mappable(), await b.mappable()]).toEqual([true, true]);
  });

  it("wakes every member to D0 before the bus is reset", async () => {
    const { a, b } = await two();
    await b.device.writeConfig(PM + 4, 2, 3);
    let during: number | undefined;
    a.fn.duringReset = () => {
      during = b.fn.powerState;
    };
    await a.vfio.hotReset([a.device, b.device]);
    expect(during).toBe(0);
    expect(await b.mappable()).toBe(true);
  });

  it("restores only members whose memory is on (known-bugs B13)", async () => {
    const { a, b } = await two();
    await b.device.writeConfig(4, 2, 0);
    await a.vfio.hotReset([a.device, b.device]);
    expect([await a.mappable(), await b.mappable()]).toEqual([true, false]);
  });

  it("lock order: nobody of the bus is opened or closed while its set is reset", async () => {
    const { a, b } = await two();
    const buffer = await a.device.exportDmaBuf(ONE_PAGE);
    const slow = new DynamicImporter(buffer, fakeDevice("0000:3e:00.0"));
    slow.slow = true;
    await slow.map();
    const order: string[] = [];
    a.fn.duringReset = () => {
      order.push("reset");
    };
    const reset = a.vfio.hotReset([a.device, b.device]);
    await settle();
    const third = a.vfio.open(new FakeFunction({ address: "0000:3b:00.2" }));
    const closing = b.device.close();
    const reopened = closing.then(() => a.vfio.open(b.fn));
    for (const [name, done] of Object.entries({ third, closing, reopened })) {
      void done.then(() => order.push(name));
    }
    const stop = new AbortController();
    const waiting = errorOf(() => a.vfio.hotReset([a.device], { signal: stop.signal }));
    await settle();
    expect(order).toEqual([]);
    stop.abort();
    expect((await waiting).code).toBe("EINTR");
    await slow.unmap();
    await Promise.all([reset, third, reopened]);
    expect(order[0]).toBe("reset");
    expect([...order].sort()).toEqual(["closing", "reopened", "reset", "third"]);
  });

  it("EBUSY where one member is busy, with the others restored", async () => {
    const { a, b } = await two();
    let finish = (): void => undefined;
    b.fn.duringReset = () => new Promise<void>((resolve) => (finish = resolve));
    const reset = b.device.reset();
    await settle();
    expect((await errorOf(() => a.vfio.hotReset([a.device, b.device]))).code).toBe("EBUSY");
    expect(a.fn.log).not.toContain("reset");
    // The busy one is in its own reset still: nothing is given back there.
    expect([await a.mappable(), await b.mappable()]).toEqual([true, false]);
    const named = a.events.flatMap((event) => (event.type === "trigger" ? [event.trigger] : []));
    expect(named).toEqual(["device-reset", "hot-reset"]);
    finish();
    await reset;
    b.fn.duringReset = undefined;
    await a.vfio.hotReset([a.device, b.device]);
    expect(a.fn.log).toContain("reset");
  });

  it("revokes before it zaps, unlike every other trigger", async () => {
    const order = async (act: (rig: Shared) => Promise<unknown>): Promise<string[]> => {
      const all = await shared({
        vfio: { cpu: { read: () => undefined, write: () => undefined } },
      });
      await all.device.mmap(0).read(0n, new Uint8Array(1));
      const before = all.events.length;
      await act(all);
      const types = all.events.slice(before).map(({ type }) => type);
      return types.filter((type) => type === "zap" || type === "revoke");
    };
    expect(await order(({ vfio, device }) => vfio.hotReset([device]))).toEqual(["revoke", "zap"]);
    expect(await order(({ device }) => device.reset())).toEqual(["zap", "revoke"]);
    expect(await order(({ device }) => device.writeConfig(4, 2, 0))).toEqual(["zap", "revoke"]);
    expect(await order(({ device }) => device.writeConfig(PM + 4, 2, 3))).toEqual([
      "zap",
      "revoke",
    ]);
    expect(await order(({ device }) => device.enterLowPower())).toEqual(["zap", "revoke"]);
    expect(await order(({ device }) => device.writeConfig(AF + 4, 1, 1))).toEqual([
      "zap",
      "revoke",
    ]);
  });

  it("EINVAL for an empty list, one that spans buses, and one that leaves a device out", async () => {
    const { a, b } = await two();
    const far = await shared({ address: "0000:5e:00.0" });
    expect((await errorOf(() => a.vfio.hotReset([]))).code).toBe("EINVAL");
    expect((await errorOf(() => a.vfio.hotReset([a.device]))).reason).toContain("0000:3b:00.1");
    const spans = [a.device, b.device, far.device];
    expect((await errorOf(() => a.vfio.hotReset(spans))).reason).toContain("0000:5e:00.0");
  });

  it("a failed bus reset is thrown, after memory came back; given up it leaves all revoked", async () => {
    const { a, b } = await two();
    const set = [a.device, b.device];
    const resetBus = (): Promise<void> => Promise.reject(new DmaBufError("EIO", "bus", "dead"));
    expect((await errorOf(() => a.vfio.hotReset(set, { resetBus }))).code).toBe("EIO");
    expect([await a.mappable(), await b.mappable()]).toEqual([true, true]);
    b.importer.slow = true;
    const abort = new AbortController();
    const reset = a.vfio.hotReset(set, { signal: abort.signal });
    await settle();
    abort.abort();
    const error = await errorOf(() => reset);
    expect(error.code).toBe("EINTR");
    expect(error.reason).toContain("0000:3b:00.0 bar0 #1, 0000:3b:00.1 bar0 #1 (1 mapping left)");
    await b.importer.unmap();
    await a.vfio.hotReset(set);
    expect([await a.mappable(), await b.mappable()]).toEqual([true, true]);
  });
});
