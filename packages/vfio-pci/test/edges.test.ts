import { asyncDispose, dispose } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { errorOf, refusal, settle } from "./fixtures/errors.js";
import { GIB, ioBar, MIB, memoryBar } from "./fixtures/fake-function.js";
import { DynamicImporter, fakeDevice } from "./fixtures/fake-importer.js";
import { ONE_PAGE, type Rig, rig } from "./fixtures/rig.js";

const NIC = fakeDevice("0000:3c:00.0");
const PAGE = 0x1000n;

const bars = [
  memoryBar(0, 0x10_0000_0000n, MIB),
  undefined,
  ioBar(2, 0xe000n, 256n),
  memoryBar(3, 0xffff_ffff_fff0_0000n, MIB),
  memoryBar(4, GIB, 0n),
];

const cpu = {
  read: (_at: bigint, into: Uint8Array): void => {
    into.fill(7);
  },
  write: (): void => undefined,
};

const viewed = (): Promise<Rig> => rig({ bars, vfio: { cpu } });

describe("the last value that is right", () => {
  it("vfio-pci-dmabuf V13: as many ranges as one allocation holds, 262144, and not one more", async () => {
    const { device } = await rig();
    const range = { offset: 0n, length: PAGE };
    const ranges = new Array<typeof range>(262_144).fill(range);
    using buffer = await device.exportDmaBuf({ bar: 0, ranges });
    expect(buffer.size).toBe(262_144n * PAGE);
    const more = { bar: 0, ranges: [...ranges, range] };
    expect(await refusal(() => device.exportDmaBuf(more))).toBe("ENOMEM vfio-pci-dmabuf V13");
  });

  it("vfio-pci-dmabuf V19: an end at 2^64 exactly has wrapped", async () => {
    const { device } = await rig({ bars });
    const ending = (length: bigint) => ({ bar: 3, ranges: [{ offset: 0n, length }] });
    using below = await device.exportDmaBuf(ending(MIB - PAGE));
    expect(below.size).toBe(MIB - PAGE);
    expect(await refusal(() => device.exportDmaBuf(ending(MIB)))).toBe(
      "EOVERFLOW vfio-pci-dmabuf V19",
    );
  });

  it("a load may end at the end of its window", async () => {
    const { device } = await viewed();
    using view = device.mmap(0, { offset: 0n, length: PAGE });
    const two = new Uint8Array(2);
    await view.read(PAGE - 2n, two);
    expect([...two]).toEqual([7, 7]);
    expect((await errorOf(() => view.read(PAGE - 1n, two))).code).toBe("EINVAL");
  });
});

describe("what a refusal names", () => {
  it("vfio-pci-dmabuf V12: the memory BARs that there are, and no others", async () => {
    const { device } = await rig({ bars });
    const { hint } = await errorOf(() => device.exportDmaBuf({ ...ONE_PAGE, bar: 1 }));
    expect(hint?.match(/\d+/g)).toEqual(["0", "3", "4"]);
    const ports = await rig({ bars: [ioBar(0, 0xe000n, 256n)] });
    const without = await errorOf(() => ports.device.exportDmaBuf({ ...ONE_PAGE, bar: 1 }));
    expect(without.hint?.match(/\d+/g)).toBeNull();
  });

  it("vfio-pci-dmabuf V14: the values of a range that is none", async () => {
    const { device } = await rig();
    const wrong = [{ offset: 4096 as unknown as bigint, length: -1n }];
    const { reason } = await errorOf(() => device.exportDmaBuf({ bar: 0, ranges: wrong }));
    expect(reason).toContain("4096");
    expect(reason).toContain("-1");
    const text = [{ offset: "0x1000" as unknown as bigint, length: PAGE }];
    const other = await errorOf(() => device.exportDmaBuf({ bar: 0, ranges: text }));
    expect(other.reason).toContain("string");
    expect(other.reason).not.toContain("0x1000");
  });

  it("vfio-pci-dmabuf V11: a list that is none has no ranges", async () => {
    const { device } = await rig();
    const request = { bar: 0, ranges: undefined as never };
    expect(await refusal(() => device.exportDmaBuf(request))).toBe("EINVAL vfio-pci-dmabuf V11");
  });

  it("a reset that cannot be is the operation it was", async () => {
    const { device } = await rig({ open: { resettable: false } });
    expect((await errorOf(() => device.reset())).syscall).toBe("vfio.reset");
  });
});

describe("a move of the buffers (vfio-pci-dmabuf section 2)", () => {
  /** Two buffers; the importer of the first keeps its mapping, so that a revoke waits there. */
  async function waiting() {
    const all = await rig();
    const first = await all.device.exportDmaBuf({ ...ONE_PAGE, name: "first" });
    const second = await all.device.exportDmaBuf({ ...ONE_PAGE, name: "second" });
    const importer = new DynamicImporter(first, NIC);
    importer.slow = true;
    await importer.map();
    const of = (type: string) =>
      all.events.flatMap((event) =>
        event.type === type && "buffer" in event ? [event.buffer] : [],
      );
    return { ...all, second, importer, of };
  }

  it("step 1: leaves out a buffer whose release is due", async () => {
    const { device, second, importer, of } = await waiting();
    const reset = device.reset();
    await settle();
    second.close();
    await settle();
    expect(device.buffers).toBe(2);
    await importer.unmap();
    await reset;
    await settle();
    expect([of("revoke"), of("restore"), device.buffers]).toEqual([["first"], ["first"], 1]);
  });

  it("R30: a buffer released while close drains puts its registration reference once", async () => {
    const { device, second, importer } = await waiting();
    const closing = device.close();
    await settle();
    second.close();
    await settle();
    expect(device.registrations).toBe(3);
    await importer.unmap();
    await closing;
    await settle();
    expect([device.buffers, device.registrations]).toEqual([0, 0]);
  });

  it("R17: the kernel's kref is 1 and one for each mapping, 0 for the first in a drain alone, and 1 again after it", async () => {
    const { device, importer } = await waiting();
    const [first] = device.gate.list.buffers;
    const counted = () => [first?.references, first?.mappings, first?.drained];
    expect(counted()).toEqual([2, 1, true]);
    await importer.map();
    expect(counted()).toEqual([3, 2, true]);
    const reset = device.reset();
    await settle();
    expect(counted()).toEqual([2, 2, false]);
    await importer.unmap();
    await reset;
    expect(counted()).toEqual([1, 0, true]);
  });

  it("one given up is taken up again without a second revoke of what is revoked", async () => {
    const { device, importer, of } = await waiting();
    const abort = new AbortController();
    const error = errorOf(() => device.reset({ signal: abort.signal }));
    await settle();
    abort.abort();
    expect((await error).code).toBe("EINTR");
    const again = device.reset();
    await settle();
    expect(of("drain")).toEqual(["first", "first"]);
    await importer.unmap();
    await again;
    expect([of("revoke"), of("drained"), of("restore")]).toEqual([
      ["first", "second"],
      ["first", "second"],
      ["first", "second"],
    ]);
  });

  it("a close and a hot reset that give up waiting for it say which call it was, and what is revoked and not drained", async () => {
    const { device, vfio, importer } = await waiting();
    const holder = vfio.hotReset([device]);
    await settle();
    const abort = new AbortController();
    const { signal } = abort;
    const errors = [
      errorOf(() => vfio.hotReset([device], { signal })),
      errorOf(() => device.close({ signal })),
    ];
    await settle();
    abort.abort();
    const told = await Promise.all(errors);
    expect(told.map(({ code, syscall }) => [code, syscall])).toEqual([
      ["EINTR", "vfio.hotReset"],
      ["EINTR", "vfio.close"],
    ]);
    for (const { reason } of told) expect(reason).toMatch(/first \(1 mapping left\)/);
    await importer.unmap();
    await holder;
    await device.close();
    expect(device.closed).toBe(true);
  });
});

describe("the end of a view (vfio-pci-dmabuf R31)", () => {
  it("is the end of its pages, and of its place among the device's views, by whatever way", async () => {
    const { device } = await viewed();
    const { views } = device.gate;
    const view = device.mmap(0);
    await view.read(0n, new Uint8Array(1));
    expect([view.present, views.size]).toEqual([true, 1]);
    view.unmap();
    expect([view.present, views.size]).toEqual([false, 0]);
    const other = device.mmap(0);
    expect(views.size).toBe(1);
    other[dispose]();
    expect(views.size).toBe(0);
    expect((await errorOf(() => other.read(0n, new Uint8Array(1)))).code).toBe("EBADF");
  });

  it("while a fault waits for the memory lock ends the access too, with no fault served", async () => {
    const { device } = await viewed();
    const view = device.mmap(0);
    const held = await device.gate.list.memoryLock.lock();
    const error = errorOf(() => view.read(0n, new Uint8Array(1)));
    await settle();
    view.unmap();
    held.release();
    expect((await error).code).toBe("EBADF");
    expect([view.present, view.faults]).toEqual([false, 0]);
  });

  it("a BAR without bytes has no view", async () => {
    const { device } = await viewed();
    expect((await errorOf(() => device.mmap(4))).code).toBe("EINVAL");
  });
});

describe("a device", () => {
  it("is closed at the end of its scope", async () => {
    const { device, vfio } = await rig();
    await device[asyncDispose]();
    expect([device.closed, [...vfio.devices]]).toEqual([true, []]);
  });
});
