import { describe, expect, it } from "vitest";
import type { VfioPciDevice } from "../src/index.js";
import { errorOf, settle } from "./fixtures/errors.js";
import { EXPRESS, FakeFunction, GIB, ioBar, MIB, memoryBar, PM } from "./fixtures/fake-function.js";
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
