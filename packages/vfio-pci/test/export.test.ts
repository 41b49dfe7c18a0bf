import { type DmaBuf, DmaBufError, type ExportRequest, type Slice } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import type { AllocationSite } from "../src/index.js";
import { errorOf, refusal, settle } from "./fixtures/errors.js";
import { FakeFunction, GIB, ioBar, MIB, memoryBar } from "./fixtures/fake-function.js";
import { fakeDevice, revocable } from "./fixtures/fake-importer.js";
import { ONE_PAGE, type Rig, rig } from "./fixtures/rig.js";

const PAGE = 0x1000n;
const bars = [
  memoryBar(0, 0x10_0000_0000n, 16n * MIB),
  undefined,
  ioBar(2, 0xe000n, 256n),
  memoryBar(3, 0x20_0000_0000n, 0n),
  memoryBar(4, 0x30_0000_0000n, 0x800n),
  memoryBar(5, 0xffff_ffff_ffe0_0000n, MIB),
];

const at = (bar: number, ...ranges: Slice[]): ExportRequest => ({ bar, ranges });
const page = (offset: bigint, length = PAGE): Slice => ({ offset, length });

describe("one violation", () => {
  const cases: readonly [string, ExportRequest, string][] = [
    ["V11: no range", at(0), "EINVAL vfio-pci-dmabuf V11"],
    ["V12: BAR 6, the ROM", at(6, page(0n)), "ENODEV vfio-pci-dmabuf V12"],
    ["V12: BAR -1", at(-1, page(0n)), "ENODEV vfio-pci-dmabuf V12"],
    ["V12: BAR 0.5", at(0.5, page(0n)), "ENODEV vfio-pci-dmabuf V12"],
    ["V12: BAR NaN", at(Number.NaN, page(0n)), "ENODEV vfio-pci-dmabuf V12"],
    ["V12, R7: an absent BAR", at(1, page(0n)), "ENODEV vfio-pci-dmabuf V12"],
    ["V12: a BAR of no length", at(3, page(0n)), "ENODEV vfio-pci-dmabuf V12"],
    [
      "vfio-pci-dmabuf V13: more ranges than one allocation carries",
      { bar: 0, ranges: new Array<Slice>(262_145).fill(page(0n)) },
      "ENOMEM vfio-pci-dmabuf V13",
    ],
    ["V14: length 0", at(0, page(0n, 0n)), "EINVAL vfio-pci-dmabuf V14"],
    ["V14: offset within a page", at(0, page(0x10n)), "EINVAL vfio-pci-dmabuf V14"],
    ["V14: length within a page", at(0, page(0n, 0x1800n)), "EINVAL vfio-pci-dmabuf V14"],
    ["V14: the second range", at(0, page(0n), page(1n)), "EINVAL vfio-pci-dmabuf V14"],
    ["V14: a negative offset", at(0, page(-PAGE)), "EINVAL vfio-pci-dmabuf V14"],
    ["V14: past 64 bits", at(0, page(1n << 64n)), "EINVAL vfio-pci-dmabuf V14"],
    [
      "vfio-pci-dmabuf V15: the sum wraps 64 bits",
      at(0, page(0n, 1n << 63n), page(0n, 1n << 63n)),
      "EINVAL vfio-pci-dmabuf V15",
    ],
    ["V16, B16: the sum has bit 63", at(0, page(0n, 1n << 63n)), "EINVAL vfio-pci-dmabuf V16"],
    ["V18, R7: an I/O BAR", at(2, page(0n)), "EINVAL vfio-pci-dmabuf V18"],
    ["V19: start + offset wraps", at(5, page(MIB * 2n)), "EOVERFLOW vfio-pci-dmabuf V19"],
    [
      "vfio-pci-dmabuf V19, known-bugs B15: offset + length wraps below the BAR end",
      at(0, page((1n << 64n) - PAGE, 2n * PAGE)),
      "EOVERFLOW vfio-pci-dmabuf V19",
    ],
    ["V20: one page past the end", at(0, page(16n * MIB)), "EINVAL vfio-pci-dmabuf V20"],
    ["V20, R4: a BAR shorter than a page", at(4, page(0n)), "EINVAL vfio-pci-dmabuf V20"],
  ];

  it.each(cases)("%s", async (_title, request, expected) => {
    const { device } = await rig({ bars });
    expect(await refusal(() => device.exportDmaBuf(request))).toBe(expected);
    expect([device.buffers, device.registrations]).toEqual([0, 1]);
  });

  it("vfio-pci-dmabuf V12, known-bugs B7: a BAR that another driver claims, and vfio-pci-dmabuf V18, known-bugs B8: one that must not be mapped", async () => {
    const claimed = await rig({ bars, open: { unclaimedBars: [0] } });
    expect(await refusal(() => claimed.device.exportDmaBuf(ONE_PAGE))).toBe(
      "ENODEV vfio-pci-dmabuf V12",
    );
    const barred = await rig({ bars, open: { nonMappableBars: true } });
    expect(await refusal(() => barred.device.exportDmaBuf(ONE_PAGE))).toBe(
      "ENODEV vfio-pci-dmabuf V12",
    );
  });

  it("vfio-pci-dmabuf V21: a device that is being unregistered", async () => {
    const { device } = await rig();
    const gone = device.unregister();
    expect(await refusal(() => device.exportDmaBuf(ONE_PAGE))).toBe("ENODEV vfio-pci-dmabuf V21");
    await device.close();
    await gone;
  });

  it("vfio-pci-dmabuf V17, V22: a failing allocation is thrown as it is, after vfio-pci-dmabuf V16, before vfio-pci-dmabuf V18, and undone", async () => {
    const failing = (site: AllocationSite): Promise<Rig> =>
      rig({
        bars,
        vfio: {
          allocate: (asked) => {
            if (asked === site) throw new DmaBufError("ENOMEM", "kmalloc", asked);
          },
        },
      });
    const first = await failing("private");
    const io = at(2, page(0n));
    expect((await errorOf(() => first.device.exportDmaBuf(io))).code).toBe("ENOMEM");
    expect(await refusal(() => first.device.exportDmaBuf(at(2, page(0n, 1n << 63n))))).toBe(
      "EINVAL vfio-pci-dmabuf V16",
    );
    const second = await failing("dma-buf");
    expect(await refusal(() => second.device.exportDmaBuf(at(0, page(16n * MIB))))).toBe(
      "EINVAL vfio-pci-dmabuf V20",
    );
    expect((await errorOf(() => second.device.exportDmaBuf(ONE_PAGE))).code).toBe("ENOMEM");
    // V21 is looked at first, and after V20.
    const gone = second.device.unregister();
    expect(await refusal(() => second.device.exportDmaBuf(ONE_PAGE))).toMatch(/V21$/);
    expect(await refusal(() => second.device.exportDmaBuf(at(0, page(16n * MIB))))).toMatch(/V20$/);
    for (const { device } of [first, second]) {
      expect([device.buffers, device.registrations]).toEqual([0, 1]);
    }
    await second.device.close();
    await gone;
  });

  it("vfio-pci-dmabuf V20, known-bugs B15: the end is that of the BAR to the byte, not of its last page", async () => {
    const { device } = await rig({ bars: [memoryBar(0, 0x10_0000_0000n, 0x1800n)] });
    expect(await refusal(() => device.exportDmaBuf(at(0, page(PAGE))))).toBe(
      "EINVAL vfio-pci-dmabuf V20",
    );
    using buffer = await device.exportDmaBuf(at(0, page(0n)));
    expect(buffer.size).toBe(PAGE);
  });

  it("names numbers in hexadecimal, with units, and says what to do", async () => {
    const { device } = await rig({ bars });
    const error = await errorOf(() => device.exportDmaBuf(at(0, page(0xfff000n, 0x3000n))));
    expect(error.message).toBe(
      "EINVAL: vfio.exportDmaBuf: range 0 is 0xfff000+0x3000 bytes: it ends 0x2000 bytes past BAR 0, which has 0x1000000",
    );
    expect(error.hint).toBe("stay within 0x1000000 bytes");
    expect(error.errno).toBe(-22);
  });

  it("takes what is not a range at all for a bad range", async () => {
    const { device } = await rig({ bars });
    const ranges = [undefined, null, 7, { offset: 0, length: 4096 }] as unknown as Slice[];
    for (const range of ranges) {
      expect(await refusal(() => device.exportDmaBuf({ bar: 0, ranges: [range] }))).toBe(
        "EINVAL vfio-pci-dmabuf V14",
      );
    }
  });
});

describe("what is allowed", () => {
  it("vfio-pci-dmabuf R3: ranges that overlap, repeat, come in any order and exceed the BAR in sum", async () => {
    const { device } = await rig();
    const ranges = [page(8n * MIB, 8n * MIB), page(0n, 16n * MIB), page(0n, 16n * MIB)];
    using buffer = await device.exportDmaBuf({ bar: 0, ranges });
    expect(buffer.size).toBe(40n * MIB);
  });

  it("vfio-pci-dmabuf R5: every page of a BAR, whatever table the device keeps there", async () => {
    const { device } = await rig();
    for (const offset of [0n, 0x1000n, 16n * MIB - PAGE]) {
      using buffer = await device.exportDmaBuf({ bar: 0, ranges: [page(offset)] });
      expect(buffer.size).toBe(PAGE);
    }
  });

  it("vfio-pci-dmabuf R8, R9: the ops of the kernel's exporter, under its name", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    expect(buffer.ops.name).toBe("vfio_pci_core");
    for (const op of ["pin", "unpin", "mmap", "vmap", "beginCpuAccess", "endCpuAccess"]) {
      expect(op in buffer.ops).toBe(false);
    }
  });

  it("carries the name it is given, else one of its own", async () => {
    const { device } = await rig();
    using named = await device.exportDmaBuf({ ...ONE_PAGE, name: "ring" });
    using other = await device.exportDmaBuf(ONE_PAGE);
    expect([named.label, other.label]).toEqual(["ring", "0000:3b:00.0 bar0 #2"]);
  });
});

describe("vfio-pci-dmabuf R6, R22: born revoked", () => {
  const isBornRevoked = async (buffer: DmaBuf): Promise<boolean> => {
    try {
      buffer.attach(fakeDevice("0000:3c:00.0"), revocable).detach();
      return false;
    } catch (error) {
      expect(error).toMatchObject({ code: "ENODEV", rule: "vfio-pci-dmabuf R10" });
      return Promise.resolve(true);
    }
  };

  it("while the memory bit is off; T3: attach works once it is on again", async () => {
    const { device } = await rig();
    await device.writeConfig(4, 2, 0);
    expect(device.memoryEnabled).toBe(false);
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    expect(await isBornRevoked(buffer)).toBe(true);
    await device.writeConfig(4, 2, 2);
    expect(await isBornRevoked(buffer)).toBe(false);
  });

  it("while the function is in D3hot", async () => {
    const { device, fn } = await rig();
    await device.writeConfig(0x44, 2, 3);
    expect(fn.powerState).toBe(3);
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    expect(await isBornRevoked(buffer)).toBe(true);
  });

  it("not on a virtual function, which has no memory bit", async () => {
    const { device } = await rig({ isVirtual: true });
    await device.writeConfig(4, 2, 0);
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    expect(await isBornRevoked(buffer)).toBe(false);
  });
});

describe("while the memory lock is held", () => {
  it("export waits for a reset in progress; giving up leaves nothing behind", async () => {
    const { device, fn } = await rig();
    let finish = (): void => undefined;
    fn.duringReset = () => new Promise<void>((resolve) => (finish = resolve));
    const reset = device.reset();
    const gaveUp = new AbortController();
    const first = device.exportDmaBuf(ONE_PAGE, { signal: gaveUp.signal });
    const second = device.exportDmaBuf(ONE_PAGE);
    gaveUp.abort();
    expect((await errorOf(() => first)).code).toBe("EINTR");
    expect(device.buffers).toBe(0);
    finish();
    await reset;
    using buffer = await second;
    expect(device.registrations).toBe(2);
    expect(buffer.size).toBe(PAGE);
  });

  it("export fails where the device was closed meanwhile", async () => {
    const { device, fn } = await rig();
    let finish = (): void => undefined;
    fn.duringReset = () => new Promise<void>((resolve) => (finish = resolve));
    const reset = device.reset();
    const pending = errorOf(() => device.exportDmaBuf(ONE_PAGE));
    const closed = device.close();
    const late = errorOf(() => device.exportDmaBuf(ONE_PAGE));
    await settle();
    finish();
    await Promise.all([reset, closed]);
    expect([(await pending).code, (await late).code]).toEqual(["EBADF", "EBADF"]);
    expect(device.registrations).toBe(0);
  });
});

describe("opening", () => {
  it("wakes the function and turns memory decode on", async () => {
    const fn = new FakeFunction({ bars: [memoryBar(0, GIB, MIB)] });
    fn.set(0x44, 2, 3);
    const { vfio } = await rig();
    const other = new FakeFunction({ address: "0000:41:00.0" });
    other.set(0x44, 2, 3);
    const device = await vfio.open(other);
    expect([other.powerState, other.command & 2]).toEqual([0, 2]);
    expect(device.memoryEnabled).toBe(true);
  });

  it("twice is EBUSY, after a close it works again", async () => {
    const { vfio, fn, device } = await rig();
    expect((await errorOf(() => vfio.open(fn))).code).toBe("EBUSY");
    await device.close();
    const again = await vfio.open(fn);
    expect([...vfio.devices]).toEqual([again]);
  });
});
