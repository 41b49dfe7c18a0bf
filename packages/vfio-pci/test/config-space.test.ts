import { describe, expect, it } from "vitest";
import type { VfioPciDevice } from "../src/index.js";
import { errorOf, settle } from "./fixtures/errors.js";
import {
  AF,
  EXPRESS,
  FakeFunction,
  type FakeFunctionOptions,
  GIB,
  ioBar,
  MIB,
  memoryBar,
  PM,
} from "./fixtures/fake-function.js";
import { DynamicImporter, fakeDevice } from "./fixtures/fake-importer.js";
import { ONE_PAGE, rig } from "./fixtures/rig.js";

const ONES = 0xffff_ffff;

/**
 * A function with every kind of BAR: 0 and 1 are one prefetchable 64-bit BAR of 8 GiB, 2 is a 32-bit one of 1 MiB, 3 is absent, 4 is
 * 256 bytes of ports, 5 is there without bytes.
 */
async function opened(): Promise<{ fn: FakeFunction; device: VfioPciDevice }> {
  const fn = new FakeFunction({
    address: "0000:3b:00.1",
    bars: [
      memoryBar(0, 0x12_0000_0000n, 8n * GIB),
      undefined,
      memoryBar(2, 0xe010_0000n, MIB),
      undefined,
      ioBar(4, 0xe000n, 256n),
      memoryBar(5, 0xe000_0000n, 0n),
    ],
  });
  fn.set(0x10, 1, 0xc);
  fn.set(0x20, 1, 0x1);
  const { vfio } = await rig();
  return { fn, device: await vfio.open(fn) };
}

const registers = (device: VfioPciDevice): number[] =>
  [0, 1, 2, 3, 4, 5].map((i) => device.readConfig(0x10 + 4 * i, 4));

describe("BAR registers of the user", () => {
  it("begin at the bus addresses with the type bits of the function; what is absent reads 0", async () => {
    const { device } = await opened();
    expect(registers(device)).toEqual([0x0000_000c, 0x12, 0xe010_0000, 0, 0xe001, 0]);
  });

  it("all ones read back as the sizes: both halves of a 64-bit BAR, one of the others", async () => {
    const { device, fn } = await opened();
    const before = fn.log.length;
    for (let i = 0; i < 6; i++) await device.writeConfig(0x10 + 4 * i, 4, ONES);
    expect(registers(device)).toEqual([0xc, 0xffff_fffe, 0xfff0_0000, 0, 0xffff_ff01, 0]);
    for (let i = 0; i < 6; i++) await device.writeConfig(0x10 + 4 * i, 4, 0);
    expect(registers(device)).toEqual([0xc, 0, 0, 0, 1, 0]);
    expect(fn.log.length).toBe(before);
  });

  it("take bytes and halves, each at its own place alone", async () => {
    const { device } = await opened();
    await device.writeConfig(0x1a, 2, 0xabcd);
    expect(device.readConfig(0x18, 4)).toBe(0xabc0_0000);
    await device.writeConfig(0x1b, 1, 0x12);
    expect(device.readConfig(0x18, 4)).toBe(0x12c0_0000);
    await device.writeConfig(0x15, 1, 0x77);
    expect(device.readConfig(0x14, 4)).toBe(0x7712);
    expect([0x14, 0x15, 0x16].map((at) => device.readConfig(at, 1))).toEqual([0x12, 0x77, 0]);
    // Below the length nothing can be written.
    await device.writeConfig(0x18, 2, 0xffff);
    expect(device.readConfig(0x18, 4)).toBe(0x12c0_0000);
    expect(device.readConfig(0x1a, 2)).toBe(0x12c0);
  });

  it("the ROM's reads 0, and keeps nothing", async () => {
    const { device, fn } = await opened();
    fn.set(0x30, 4, 0xdead_0001);
    await device.writeConfig(0x30, 4, ONES);
    expect([device.readConfig(0x30, 4), device.readConfig(0x33, 1)]).toEqual([0, 0]);
    expect(fn.readConfig(0x30, 4)).toBe(0xdead_0001);
  });

  it("end where they end: their neighbours are the function's own", async () => {
    const { device, fn } = await opened();
    for (const [at, value] of [
      [0x00, 0x1017_15b3],
      [0x0c, 0x0080_0010],
      [0x28, 0x1234_5678],
      [0x2c, 0x0042_15b3],
      [0x38, 0x1122_3344],
      [0x3c, 0x0000_01ff],
    ] as const) {
      fn.set(at, 4, value);
      expect(device.readConfig(at, 4)).toBe(value);
    }
    expect(device.readConfig(0x34, 1)).toBe(PM);
    await device.writeConfig(0x28, 4, 0x8765_4321);
    await device.writeConfig(0x3c, 1, 5);
    expect([fn.readConfig(0x28, 4), fn.readConfig(0x3c, 1)]).toEqual([0x8765_4321, 5]);
  });
});

describe("an access", () => {
  it("that crosses an aligned double word is put together from its pieces", async () => {
    const { device, fn } = await opened();
    fn.set(0x100, 4, 0x4433_2211);
    fn.set(0x104, 4, 0x8877_6655);
    expect(device.readConfig(0x102, 4)).toBe(0x6655_4433);
    expect(device.readConfig(0x103, 2)).toBe(0x5544);
    expect(device.readConfig(0x101, 4)).toBe(0x5544_3322);
    await device.writeConfig(0x101, 4, 0xddcc_bbaa);
    expect([fn.readConfig(0x100, 4), fn.readConfig(0x104, 4)]).toEqual([0xccbb_aa11, 0x8877_66dd]);
  });

  it("may touch the first and the last byte of config space, and nothing beyond", async () => {
    const { device, fn } = await opened();
    fn.set(0, 4, 0x1017_15b3);
    fn.set(4092, 4, 0x0403_0201);
    expect([
      device.readConfig(0, 4),
      device.readConfig(4092, 4),
      device.readConfig(4095, 1),
    ]).toEqual([0x1017_15b3, 0x0403_0201, 4]);
    expect((await errorOf(() => device.readConfig(4093, 4))).code).toBe("EINVAL");
  });

  it("that is cut does not reach the function any more once the device was closed in between", async () => {
    const { device, fn } = await opened();
    const held = await device.gate.list.memoryLock.lock();
    const error = errorOf(() => device.writeConfig(3, 4, 0x0102_0304));
    const closing = device.close();
    await settle();
    const before = fn.log.length;
    held.release();
    const { code, syscall } = await error;
    expect([code, syscall]).toEqual(["EBADF", "vfio.writeConfig"]);
    await closing;
    expect(fn.log.slice(before).filter((line) => line.startsWith("config 6/"))).toEqual([]);
  });
});

describe("a write", () => {
  const pieces: readonly (readonly [offset: number, size: 1 | 2 | 4, told: readonly string[]])[] = [
    [0x100, 1, ["100/1=44"]],
    [0x101, 1, ["101/1=44"]],
    [0x100, 2, ["100/2=3344"]],
    [0x101, 2, ["101/1=44", "102/1=33"]],
    [0x102, 2, ["102/2=3344"]],
    [0x103, 2, ["103/1=44", "104/1=33"]],
    [0x100, 4, ["100/4=11223344"]],
    [0x101, 4, ["101/1=44", "102/2=2233", "104/1=11"]],
    [0x102, 4, ["102/2=3344", "104/2=1122"]],
    [0x103, 4, ["103/1=44", "104/2=2233", "106/1=11"]],
  ];

  it.each(pieces)(
    "at 0x%s of %i bytes reaches the function in aligned pieces, rising",
    async (offset, size, told) => {
      const { device, fn } = await opened();
      const before = fn.log.length;
      await device.writeConfig(offset, size, 0x1122_3344 % 2 ** (8 * size));
      expect(fn.log.slice(before)).toEqual(told.map((piece) => `config ${piece}`));
    },
  );

  it("beside the power state and the reset bits is stored as it is, and triggers nothing", async () => {
    const { device, fn, events } = await rig();
    for (const [at, size, value] of [
      [PM, 4, 0xffff_ffff],
      [EXPRESS + 4, 4, 0xffff_ffff],
      [EXPRESS + 0xc, 4, 0xffff_ffff],
      [EXPRESS + 8, 1, 0xff],
      [EXPRESS + 0xa, 2, 0xffff],
      [AF, 4, 0xffff_ffff],
      [AF + 5, 1, 0xff],
    ] as const) {
      await device.writeConfig(at, size, value);
      expect(fn.log.at(-1)).toBe(`config ${at.toString(16)}/${size}=${value.toString(16)}`);
    }
    expect(events.filter(({ type }) => type === "trigger")).toEqual([]);
  });

  it("of a function without capabilities is stored as it is, and triggers nothing", async () => {
    const { device, fn, events } = await rig({ capabilities: [] });
    for (const at of [0x40, PM + 4, EXPRESS + 8, AF + 4, 0xffc]) {
      await device.writeConfig(at, 4, 0xffff_ffff);
      expect(fn.log.at(-1)).toBe(`config ${at.toString(16)}/4=ffffffff`);
    }
    expect(events.filter(({ type }) => type === "trigger")).toEqual([]);
    expect(fn.log).not.toContain("reset");
  });
});

describe("opening (pci_enable_device)", () => {
  const fresh = (options: FakeFunctionOptions) =>
    new FakeFunction({ address: "0000:3b:00.1", ...options });

  it("turns memory decode on where there is memory, and writes nothing else in D0", async () => {
    const { vfio } = await rig();
    const second = fresh({ bars: [undefined, memoryBar(1, GIB, MIB)] });
    const device = await vfio.open(second);
    expect([second.log, device.memoryEnabled]).toEqual([["config 4/2=2"], true]);
    await device.close();
    const ports = fresh({ bars: [undefined, ioBar(1, 0xe000n, 256n)] });
    await vfio.open(ports);
    expect([ports.log, ports.command]).toEqual([[], 0]);
  });

  it("does without power management where there is none, and so does a reset", async () => {
    const { vfio } = await rig();
    const fn = fresh({ capabilities: ["express"] });
    const device = await vfio.open(fn);
    await device.reset();
    expect(fn.log).toEqual(["config 4/2=2", "reset"]);
    expect(fn.config.every((byte) => Number.isInteger(byte))).toBe(true);
  });

  it("vfio-pci-dmabuf R24: wakes a function whose virtual functions are active: only D1 to D3 are refused", async () => {
    const { vfio } = await rig();
    const fn = fresh({});
    fn.set(PM + 4, 2, 3);
    fn.enableVfs(2);
    const device = await vfio.open(fn);
    expect([fn.powerState, device.memoryEnabled]).toEqual([0, true]);
    await device.writeConfig(PM + 4, 2, 1);
    expect(fn.powerState).toBe(0);
  });

  it("another failure of a power change than EBUSY comes out of the reset that asked for it", async () => {
    const { fn, device } = await rig();
    await device.writeConfig(PM + 4, 2, 3);
    fn.failWritesAt = PM + 4;
    expect((await errorOf(() => device.reset())).code).toBe("EIO");
    expect(fn.log).not.toContain("reset");
    fn.failWritesAt = undefined;
    await device.reset();
    expect([fn.powerState, fn.log.includes("reset")]).toEqual([0, true]);
  });

  it("without a sink for events works as well, views taken down included", async () => {
    const cpu = { read: () => undefined, write: () => undefined };
    const { device } = await rig({ vfio: { events: undefined, cpu } });
    const view = device.mmap(0);
    await view.read(0n, new Uint8Array(1));
    await device.reset();
    expect(view.present).toBe(false);
  });
});

describe("each trigger (vfio-pci-dmabuf, triggers)", () => {
  const triggers: readonly (readonly [
    name: string,
    act: (device: VfioPciDevice, options: { signal: AbortSignal }) => Promise<unknown>,
    syscall: string,
  ])[] = [
    ["memory-off", (device, options) => device.writeConfig(4, 2, 0, options), "vfio.writeConfig"],
    [
      "power-d3",
      (device, options) => device.writeConfig(PM + 4, 2, 3, options),
      "vfio.writeConfig",
    ],
    [
      "flr-express",
      (device, options) => device.writeConfig(EXPRESS + 8, 2, 0x8000, options),
      "vfio.writeConfig",
    ],
    ["device-reset", (device, options) => device.reset(options), "vfio.reset"],
    [
      "low-power-entry",
      (device, options) => device.enterLowPower(undefined, options),
      "vfio.enterLowPower",
    ],
    ["close", (device, options) => device.close(options), "vfio.close"],
  ];

  it.each(triggers)(
    "%s tells its name, and is EINTR of its own operation where given up",
    async (name, act, syscall) => {
      const { device, events } = await rig();
      const importer = new DynamicImporter(
        await device.exportDmaBuf(ONE_PAGE),
        fakeDevice("0000:3c:00.0"),
      );
      importer.slow = true;
      await importer.map();
      const abort = new AbortController();
      const error = errorOf(() => act(device, { signal: abort.signal }));
      await settle();
      abort.abort();
      const { code, syscall: told, rule } = await error;
      expect([code, told, rule]).toEqual(["EINTR", syscall, "vfio-pci-dmabuf R21"]);
      const named = events.filter(({ type }) => type === "trigger");
      expect(named).toEqual([{ type: "trigger", device: "0000:3b:00.0", trigger: name }]);
      await importer.unmap();
    },
  );

  it("is ETIMEDOUT with what it leaves behind where the deadline was reached", async () => {
    const { device, scheduler } = await rig();
    const importer = new DynamicImporter(
      await device.exportDmaBuf(ONE_PAGE),
      fakeDevice("0000:3c:00.0"),
    );
    importer.slow = true;
    await importer.map();
    const error = errorOf(() => device.reset({ deadlineUs: 10 }));
    await settle();
    scheduler.advance(10);
    const { code, syscall, rule, reason } = await error;
    expect([code, syscall, rule]).toEqual(["ETIMEDOUT", "vfio.reset", "vfio-pci-dmabuf R21"]);
    expect(reason).toContain("0000:3b:00.0 bar0 #1 (1 mapping left)");
    await importer.unmap();
  });

  it("that gives back may be given up while a reservation is held", async () => {
    const { device } = await rig();
    const buffer = await device.exportDmaBuf(ONE_PAGE);
    await device.enterLowPower();
    const held = await buffer.reservation.lock();
    const abort = new AbortController();
    const error = errorOf(() => device.exitLowPower({ signal: abort.signal }));
    await settle();
    expect(device.draining).toMatchObject([{ waitsFor: "lock", mappings: 0 }]);
    abort.abort();
    const { code, syscall, reason } = await error;
    expect([code, syscall]).toEqual(["EINTR", "vfio.exitLowPower"]);
    expect(reason).toMatch(/: 0000:3b:00\.0 bar0 #1$/);
    held.release();
    await device.exitLowPower();
    expect(device.draining).toEqual([]);
  });

  it("and those that only give back tell theirs", async () => {
    const { device, events } = await rig();
    await device.writeConfig(4, 2, 2);
    await device.writeConfig(PM + 4, 2, 1);
    await device.enterLowPower(() => undefined);
    await device.wakeUp();
    await device.exitLowPower();
    const named = events.flatMap((event) => (event.type === "trigger" ? [event.trigger] : []));
    expect(named).toEqual([
      "memory-on",
      "power-d1",
      "low-power-entry",
      "wake-up",
      "low-power-exit",
    ]);
  });
});
