import { describe, expect, it } from "vitest";
import type { CpuMemory } from "../src/index.js";
import { errorOf, settle } from "./fixtures/errors.js";
import { ioBar, MIB, memoryBar, PM } from "./fixtures/fake-function.js";
import { ONE_PAGE, type Rig, rig } from "./fixtures/rig.js";

/** Memory behind BAR 0, by physical address. */
class FakeCpu implements CpuMemory {
  readonly bytes = new Map<bigint, number>();

  read(address: bigint, into: Uint8Array): void {
    for (let i = 0; i < into.length; i++) into[i] = this.bytes.get(address + BigInt(i)) ?? 0;
  }

  write(address: bigint, bytes: Uint8Array): void {
    for (const [i, byte] of bytes.entries()) this.bytes.set(address + BigInt(i), byte);
  }
}

const bars = [
  memoryBar(0, 0x10_0000_0000n, MIB),
  undefined,
  ioBar(2, 0xe000n, 256n),
  memoryBar(3, 0x20_0000_0000n, MIB),
  memoryBar(4, 0x30_0000_0000n, 0x800n),
];

async function viewed(): Promise<Rig & { cpu: FakeCpu }> {
  const cpu = new FakeCpu();
  return { ...(await rig({ bars, open: { unclaimedBars: [3] }, vfio: { cpu } })), cpu };
}

const byte = new Uint8Array(1);

describe("a view of a BAR", () => {
  it("reads and writes the bytes of its window", async () => {
    const { device, cpu } = await viewed();
    using view = device.mmap(0, { offset: 0x2000n, length: 0x1000n });
    await view.write(0x10n, Uint8Array.of(1, 2, 3));
    expect(cpu.bytes.get(0x10_0000_2011n)).toBe(2);
    const back = new Uint8Array(3);
    await view.read(0x10n, back);
    expect([...back]).toEqual([1, 2, 3]);
    expect([view.present, view.faults]).toEqual([true, 1]);
  });

  it("is checked as mmap checks it; vfio-pci-dmabuf R4: a BAR shorter than a page may be mapped", async () => {
    const { device } = await viewed();
    const code = async (bar: number, offset = 0n, length = 0x1000n): Promise<string> =>
      (await errorOf(() => device.mmap(bar, { offset, length }))).code;
    expect(await code(1)).toBe("EINVAL");
    expect(await code(2)).toBe("EINVAL");
    expect(await code(3)).toBe("EBUSY");
    expect(await code(9)).toBe("EINVAL");
    expect(await code(0, 0x800n)).toBe("EINVAL");
    expect(await code(0, 0n, 0n)).toBe("EINVAL");
    expect(await code(0, -0x1000n)).toBe("EINVAL");
    expect(await code(0, MIB)).toBe("EINVAL");
    expect(device.mmap(4).window).toEqual({ offset: 0n, length: 0x1000n });
    const without = await rig();
    expect((await errorOf(() => without.device.mmap(0))).code).toBe("EOPNOTSUPP");
  });

  it("refuses accesses outside its window, after unmap, and after the device was closed", async () => {
    const { device } = await viewed();
    const view = device.mmap(0, { offset: 0n, length: 0x1000n });
    expect((await errorOf(() => view.read(0x1000n, byte))).code).toBe("EINVAL");
    expect((await errorOf(() => view.read(-1n, byte))).code).toBe("EINVAL");
    view.unmap();
    view.unmap();
    expect((await errorOf(() => view.read(0n, byte))).code).toBe("EBADF");
    const other = device.mmap(0);
    await device.close();
    expect((await errorOf(() => other.read(0n, byte))).code).toBe("EBADF");
  });
});

describe("vfio-pci-dmabuf R31: taken down by the triggers that revoke", () => {
  const triggers: readonly [string, (rig: Rig) => Promise<void>, (rig: Rig) => Promise<void>][] = [
    [
      "memory off",
      ({ device }) => device.writeConfig(4, 2, 0),
      ({ device }) => device.writeConfig(4, 2, 2),
    ],
    [
      "D3hot",
      ({ device }) => device.writeConfig(PM + 4, 2, 3),
      ({ device }) => device.writeConfig(PM + 4, 2, 0),
    ],
    ["low power", ({ device }) => device.enterLowPower(), ({ device }) => device.exitLowPower()],
  ];

  it.each(triggers)(
    "%s: SIGBUS meanwhile, vfio-pci-dmabuf R32: faults bring it back",
    async (_name, off, on) => {
      const all = await viewed();
      using view = all.device.mmap(0);
      using buffer = await all.device.exportDmaBuf(ONE_PAGE);
      await view.read(0n, byte);
      await off(all);
      expect(view.present).toBe(false);
      const error = await errorOf(() => view.read(0n, byte));
      expect([error.code, error.rule]).toEqual(["EFAULT", "vfio-pci-dmabuf R31"]);
      expect(error.reason).toContain("SIGBUS");
      await on(all);
      await view.read(0n, byte);
      expect([view.present, view.faults]).toEqual([true, 2]);
      expect(all.events.filter(({ type }) => type === "zap")).toHaveLength(1);
      expect(buffer.size).toBe(0x1000n);
    },
  );

  it("vfio-pci-dmabuf R26: low power is looked at by faults with the quirk, too", async () => {
    const cpu = new FakeCpu();
    const { device } = await rig({ vfio: { cpu, quirks: "linux-7.2" } });
    using view = device.mmap(0);
    await device.enterLowPower();
    await device.writeConfig(4, 2, 2);
    expect((await errorOf(() => view.read(0n, byte))).reason).toContain("low power");
  });

  it("an access during a reset faults and waits for its end", async () => {
    const { device, fn } = await viewed();
    using view = device.mmap(0);
    await view.read(0n, byte);
    let finish = (): void => undefined;
    fn.duringReset = () => new Promise<void>((resolve) => (finish = resolve));
    const reset = device.reset();
    await settle();
    let read = false;
    const access = view.read(0n, byte).then(() => (read = true));
    await settle();
    expect(read).toBe(false);
    finish();
    await Promise.all([reset, access]);
    expect(read).toBe(true);
  });

  it("no access goes through while memory is off, however accesses and triggers interleave", async () => {
    const { device, fn, cpu } = await viewed();
    using view = device.mmap(0);
    let stray = 0;
    let reads = 0;
    cpu.read = () => {
      reads += 1;
      if ((fn.command & 2) === 0) stray += 1;
    };
    const pending: Promise<unknown>[] = [];
    for (let i = 0; i < 60; i++) {
      pending.push(device.writeConfig(4, 2, i % 2 === 0 ? 0 : 2));
      for (let k = 0; k < 3; k++) {
        pending.push(view.read(0n, byte).catch(() => undefined));
        await settle(i % 5);
      }
    }
    await Promise.all(pending);
    expect(stray).toBe(0);
    expect(reads).toBeGreaterThan(0);
    expect(view.faults).toBeGreaterThan(1);
  });
});
