import { type DmaBuf, type PhysAddr, physAddr } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import type { VfioPciDevice } from "../src/index.js";
import { errorOf, settle } from "./fixtures/errors.js";
import { FakeFunction, GIB, ioBar, MIB, memoryBar } from "./fixtures/fake-function.js";
import { DynamicImporter, fakeDevice, revocable } from "./fixtures/fake-importer.js";
import { ONE_PAGE, type Rig, type RigOptions, rig } from "./fixtures/rig.js";

const NIC = fakeDevice("0000:3c:00.0");
const PAGE = 0x1000n;

/** A processor that is there and sees nothing. */
const cpu = {
  read: (_at: PhysAddr, into: Uint8Array): void => {
    into.fill(0);
  },
  write: (): void => undefined,
};

const BARS: RigOptions = {
  bars: [
    memoryBar(0, 0x10_0000_0000n, 16n * MIB),
    ioBar(1, 0x1000n, 0x100n),
    memoryBar(2, GIB, MIB),
  ],
  open: { unclaimedBars: [2] },
  vfio: { cpu },
};

interface Exported extends Rig {
  readonly buffer: DmaBuf;
}

async function exported(): Promise<Exported> {
  const all = await rig(BARS);
  return { ...all, buffer: await all.device.exportDmaBuf(ONE_PAGE) };
}

async function told(action: () => unknown): Promise<string> {
  const { code, syscall, rule } = await errorOf(action);
  return `${code} ${syscall} ${rule ?? "-"}`;
}

const range = (offset: bigint, length: bigint, bar = 0) => ({ bar, ranges: [{ offset, length }] });

const refusals: readonly (readonly [string, (all: Exported) => unknown, string])[] = [
  ["a second open", ({ vfio, fn }) => vfio.open(fn), "EBUSY vfio.open -"],
  [
    "export of no range",
    ({ device }) => device.exportDmaBuf({ bar: 0, ranges: [] }),
    "EINVAL vfio.exportDmaBuf vfio-pci-dmabuf V11",
  ],
  [
    "export of an absent BAR",
    ({ device }) => device.exportDmaBuf(range(0n, PAGE, 5)),
    "ENODEV vfio.exportDmaBuf vfio-pci-dmabuf V12",
  ],
  [
    "export of a foreign BAR",
    ({ device }) => device.exportDmaBuf(range(0n, PAGE, 2)),
    "ENODEV vfio.exportDmaBuf vfio-pci-dmabuf V12",
  ],
  [
    "export of an I/O BAR",
    ({ device }) => device.exportDmaBuf(range(0n, PAGE, 1)),
    "EINVAL vfio.exportDmaBuf vfio-pci-dmabuf V18",
  ],
  [
    "export past the end",
    ({ device }) => device.exportDmaBuf(range(16n * MIB, PAGE)),
    "EINVAL vfio.exportDmaBuf vfio-pci-dmabuf V20",
  ],
  [
    "attach without peer-to-peer",
    ({ buffer }) => buffer.attach(NIC, { ...revocable, allowPeer2Peer: false }),
    "EOPNOTSUPP dmabuf.attach vfio-pci-dmabuf R10",
  ],
  [
    "attach without invalidate",
    ({ buffer }) => buffer.attach(NIC, { allowPeer2Peer: true }),
    "EOPNOTSUPP dmabuf.attach vfio-pci-dmabuf R10",
  ],
  ["a wrong config access", ({ device }) => device.readConfig(4096, 1), "EINVAL vfio.readConfig -"],
  [
    "a wrong config write",
    ({ device }) => device.writeConfig(-1, 1, 0),
    "EINVAL vfio.writeConfig -",
  ],
  ["mmap of an I/O BAR", ({ device }) => device.mmap(1), "EINVAL vfio.mmap vfio-pci-dmabuf R31"],
  ["mmap of a foreign BAR", ({ device }) => device.mmap(2), "EBUSY vfio.mmap vfio-pci-dmabuf R31"],
  [
    "mmap of half a page",
    ({ device }) => device.mmap(0, { offset: 0n, length: 0x800n }),
    "EINVAL vfio.mmap vfio-pci-dmabuf R31",
  ],
  [
    "mmap of no bytes",
    ({ device }) => device.mmap(0, { offset: 0n, length: 0n }),
    "EINVAL vfio.mmap vfio-pci-dmabuf R31",
  ],
  [
    "mmap below the BAR",
    ({ device }) => device.mmap(0, { offset: -PAGE, length: PAGE }),
    "EINVAL vfio.mmap vfio-pci-dmabuf R31",
  ],
  [
    "mmap past the BAR",
    ({ device }) => device.mmap(0, { offset: 16n * MIB, length: PAGE }),
    "EINVAL vfio.mmap vfio-pci-dmabuf R31",
  ],
  [
    "a load outside the window",
    ({ device }) => device.mmap(0, { offset: 0n, length: PAGE }).read(PAGE - 1n, new Uint8Array(2)),
    "EINVAL vfio.read -",
  ],
  [
    "a store outside the window",
    ({ device }) => device.mmap(0, { offset: 0n, length: PAGE }).write(-1n, new Uint8Array(1)),
    "EINVAL vfio.write -",
  ],
  [
    "a load after unmap",
    ({ device }) => unmapped(device).read(0n, new Uint8Array(1)),
    "EBADF vfio.read -",
  ],
  [
    "a store after unmap",
    ({ device }) => unmapped(device).write(0n, new Uint8Array(1)),
    "EBADF vfio.write -",
  ],
  ["hot reset of nothing", ({ vfio }) => vfio.hotReset([]), "EINVAL vfio.hotReset -"],
  [
    "low power twice",
    async ({ device }) => {
      await device.enterLowPower();
      await device.enterLowPower();
    },
    "EINVAL vfio.enterLowPower -",
  ],
];

function unmapped(device: VfioPciDevice) {
  const view = device.mmap(0);
  view.unmap();
  view.unmap();
  return view;
}

describe("refusals", () => {
  it.each(refusals)("%s names errno, operation and rule", async (_what, action, expected) => {
    const all = await exported();
    expect(await told(() => action(all))).toBe(expected);
  });

  it("while revoked and after close they say which of the two it is", async () => {
    const { device, buffer } = await exported();
    const importer = new DynamicImporter(buffer, NIC);
    await device.writeConfig(4, 2, 0);
    expect(await told(() => importer.map())).toBe("ENODEV dmabuf.map vfio-pci-dmabuf R12");
    expect(await told(() => buffer.attach(NIC, revocable))).toBe(
      "ENODEV dmabuf.attach vfio-pci-dmabuf R10",
    );
    const open = async () => {
      const held = await buffer.reservation.lock();
      try {
        return importer.attachment.open("phys", held);
      } finally {
        held.release();
      }
    };
    expect(await told(open)).toBe("ENODEV dmabuf.open vfio-pci-dmabuf R20");
    const revoked = await errorOf(() => importer.map());
    await device.close();
    const closed = await errorOf(() => importer.map());
    expect(closed.reason).not.toBe(revoked.reason);
  });

  it("several ranges do not go by one physical range", async () => {
    const { device } = await exported();
    const two = [
      { offset: 0n, length: PAGE },
      { offset: 2n * PAGE, length: PAGE },
    ];
    const buffer = await device.exportDmaBuf({ bar: 0, ranges: two });
    const attachment = buffer.attach(NIC, revocable);
    const held = await buffer.reservation.lock();
    expect(await told(() => attachment.open("phys", held))).toBe(
      "EOPNOTSUPP dmabuf.open vfio-pci-dmabuf R20",
    );
    held.release();
  });

  it("a device without a way is refused at map, PCI or not", async () => {
    const { device, p2p } = await exported();
    p2p.answer = "not-supported";
    for (const one of [NIC, { ...NIC, name: "soft", pciAddress: undefined }]) {
      const importer = new DynamicImporter(await device.exportDmaBuf(ONE_PAGE), one);
      expect(await told(() => importer.map())).toBe("EINVAL dmabuf.map vfio-pci-dmabuf R12");
    }
  });

  it("without a processor nothing is mapped", async () => {
    const { device } = await rig();
    expect(await told(() => device.mmap(0))).toBe("EOPNOTSUPP vfio.mmap -");
  });

  it("memory that does not decode is a bus error", async () => {
    const { device } = await exported();
    const view = device.mmap(0);
    await device.writeConfig(4, 2, 0);
    expect(await told(() => view.read(0n, new Uint8Array(1)))).toBe(
      "EFAULT vfio.access vfio-pci-dmabuf R31",
    );
  });

  it("an unregistered device takes no more buffers", async () => {
    const { device } = await exported();
    const gone = device.unregister();
    expect(await told(() => device.exportDmaBuf(ONE_PAGE))).toBe(
      "ENODEV vfio.exportDmaBuf vfio-pci-dmabuf V21",
    );
    await device.close();
    await gone;
  });
});

describe("a hot reset", () => {
  const other = (address: string) => new FakeFunction({ address });

  it("wants every open device of one bus, and no other", async () => {
    const { vfio, device } = await exported();
    const neighbour = await vfio.open(other("0000:3b:00.1"));
    const stranger = await vfio.open(other("0000:4b:00.0"));
    expect(await told(() => vfio.hotReset([device]))).toBe("EINVAL vfio.hotReset -");
    expect(await told(() => vfio.hotReset([device, neighbour, stranger]))).toBe(
      "EINVAL vfio.hotReset -",
    );
    await vfio.hotReset([neighbour, device]);
    await stranger.close();
    expect(await told(() => vfio.hotReset([stranger]))).toBe("EBADF vfio.hotReset -");
  });

  it("is EBUSY while one of them is busy, and leaves the others usable", async () => {
    const { vfio, device, buffer, fn } = await exported();
    const neighbour = await vfio.open(other("0000:3b:00.1"));
    const importer = new DynamicImporter(buffer, NIC);
    const held = await neighbour.gate.list.memoryLock.lock();
    expect(await told(() => vfio.hotReset([device, neighbour]))).toBe(
      "EBUSY vfio.hotReset vfio-pci-dmabuf, lock order",
    );
    held.release();
    expect(fn.log).not.toContain("reset");
    await importer.map();
    await importer.leave();
  });

  it("resets the bus where told how, and every function where not", async () => {
    const { vfio, device, fn } = await exported();
    let buses = 0;
    await vfio.hotReset([device], {
      resetBus: () => {
        buses += 1;
        return Promise.resolve();
      },
    });
    expect([buses, fn.log.includes("reset")]).toEqual([1, false]);
    await vfio.hotReset([device]);
    expect([buses, fn.log.includes("reset")]).toEqual([1, true]);
  });
});

describe("after close", () => {
  const operations: readonly (readonly [string, (device: VfioPciDevice) => unknown])[] = [
    ["vfio.exportDmaBuf", (device) => device.exportDmaBuf(ONE_PAGE)],
    ["vfio.mmap", (device) => device.mmap(0)],
    ["vfio.readConfig", (device) => device.readConfig(0, 4)],
    ["vfio.writeConfig", (device) => device.writeConfig(4, 2, 2)],
    ["vfio.reset", (device) => device.reset()],
    ["vfio.enterLowPower", (device) => device.enterLowPower()],
    ["vfio.exitLowPower", (device) => device.exitLowPower()],
    ["vfio.wakeUp", (device) => device.wakeUp()],
  ];

  it.each(operations)("%s is EBADF", async (syscall, action) => {
    const { device } = await exported();
    await device.close();
    await device.close();
    expect(await told(() => action(device))).toBe(`EBADF ${syscall} -`);
  });

  it.each(operations.slice(3))(
    "%s that waited for the lock meanwhile is EBADF",
    async (syscall, action) => {
      const { device } = await exported();
      const held = await device.gate.list.memoryLock.lock();
      const closing = device.close();
      const error = errorOf(() => action(device));
      held.release();
      await closing;
      expect((await error).syscall).toBe(syscall);
    },
  );

  it("nothing can be done from the moment close begins, and the end is reported", async () => {
    const { device, buffer, events, vfio } = await exported();
    const importer = new DynamicImporter(buffer, NIC);
    importer.slow = true;
    await importer.map();
    expect([device.memoryEnabled, device.closed, device.buffers, device.registrations]).toEqual([
      true,
      false,
      1,
      2,
    ]);
    const closing = device.close();
    await settle();
    expect([device.memoryEnabled, device.closed]).toEqual([false, false]);
    expect(device.draining).toEqual([
      { buffer: buffer.label, waitsFor: "mappings", mappings: 1, fences: 0 },
    ]);
    await importer.unmap();
    await closing;
    expect([device.closed, device.draining, device.buffers, device.registrations]).toEqual([
      true,
      [],
      0,
      0,
    ]);
    expect([...vfio.devices]).toEqual([]);
    const types = events
      .map((event) => (event.type === "trigger" ? event.trigger : event.type))
      .filter((type) => !type.endsWith("lock"));
    expect(types.slice(types.indexOf("close"))).toEqual([
      "close",
      "revoke",
      "invalidate",
      "drain",
      "unmap",
      "drained",
    ]);
  });
});

describe("names and addresses", () => {
  it("a buffer is called after its BAR, numbered, unless it is given a name", async () => {
    const { device, buffer } = await exported();
    const second = await device.exportDmaBuf(ONE_PAGE);
    const named = await device.exportDmaBuf({ ...ONE_PAGE, name: "mine" });
    expect([buffer.label, second.label, named.label]).toEqual([
      "0000:3b:00.0 bar0 #1",
      "0000:3b:00.0 bar0 #2",
      "mine",
    ]);
    expect(buffer.ops.name).toBe("vfio_pci_core");
  });

  it("the bus address of a range is its CPU address and the BAR's offset", async () => {
    const offset = 1n << 40n;
    const { device } = await rig({ bars: [memoryBar(0, 0x10_0000_0000n, MIB, offset)] });
    const importer = new DynamicImporter(await device.exportDmaBuf(range(2n * PAGE, PAGE)), NIC);
    const table = await importer.map();
    expect([table.space, table.entry(0).address]).toEqual([
      "bus",
      physAddr(0x10_0000_0000n + 2n * PAGE + offset),
    ]);
    await importer.leave();
  });
});
