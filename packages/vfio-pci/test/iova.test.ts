import { DmaBufError, iova, type Slice } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { attachKind, type IovaStrategy, VfioPci } from "../src/index.js";
import { errorOf } from "./fixtures/errors.js";
import { FakeFunction, GIB, MIB, memoryBar } from "./fixtures/fake-function.js";
import { DynamicImporter, fakeDevice } from "./fixtures/fake-importer.js";
import { FakeMapper } from "./fixtures/fake-mapper.js";
import { ONE_PAGE, type Rig, rig } from "./fixtures/rig.js";

const START = 0x100_0000_0000n;
const bars = [memoryBar(0, START, 64n * GIB)];
const range = (offset: bigint, length: bigint): Slice => ({ offset, length });

interface Mapped extends Rig {
  readonly mapper: FakeMapper;
  readonly importer: DynamicImporter;
}

async function through(
  strategy: IovaStrategy,
  ranges: readonly Slice[],
  space: "bus" | "iova" = "iova",
): Promise<Mapped> {
  const all = await rig({ bars, answer: "thru-host-bridge", vfio: { iovaStrategy: strategy } });
  const mapper = new FakeMapper(space);
  const buffer = await all.device.exportDmaBuf({ bar: 0, ranges });
  const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0", mapper));
  return { ...all, mapper, importer };
}

describe.each(["mapping", "attachment"] as const)("strategy %s", (strategy) => {
  it("known-bugs B9: several ranges make one span, linked at the running offset, in the order given", async () => {
    const ranges = [range(8n * MIB, 2n * MIB), range(0n, 4n * MIB), range(8n * MIB, MIB)];
    const { importer, mapper } = await through(strategy, ranges);
    const table = await importer.map();
    expect([table.space, table.entries, table.size]).toEqual(["iova", 1, 7n * MIB]);
    const base = table.entry(0).address;
    const at = (offset: bigint): bigint | undefined => mapper.translate(base + offset);
    expect([at(0n), at(2n * MIB), at(6n * MIB), at(7n * MIB - 1n)]).toEqual([
      START + 8n * MIB,
      START,
      START + 8n * MIB,
      START + 9n * MIB - 1n,
    ]);
    await importer.leave();
    expect(mapper.clean).toBe(true);
  });

  it("vfio-pci-dmabuf R33, known-bugs B17, B18: entries end at 0xfffff000 bytes, also above 8 GiB and through IOVA space", async () => {
    const { importer, mapper } = await through(strategy, [range(0n, 16n * GIB)]);
    const table = await importer.map();
    const lengths = [...table].map(({ length }) => length);
    expect(lengths).toEqual([0xffff_f000, 0xffff_f000, 0xffff_f000, 0xffff_f000, 0x4000]);
    const base = table.entry(0).address;
    expect(table.entry(4).address).toBe(base + 4n * 0xffff_f000n);
    await importer.leave();
    expect(mapper.clean).toBe(true);
  });

  it("known-bugs B21, vfio-pci-dmabuf D5: sums of exactly 4 GiB and beyond lose nothing", async () => {
    for (const [count, length] of [
      [2n, 2n * GIB],
      [3n, 4n * GIB],
    ] as const) {
      const ranges = Array.from({ length: Number(count) }, () => range(0n, length));
      const { importer, mapper } = await through(strategy, ranges);
      const table = await importer.map();
      expect(table.size).toBe(count * length);
      expect(mapper.log).toContain(`sync 0x0+0x${(count * length).toString(16)}`);
      await importer.leave();
      expect(mapper.clean).toBe(true);
    }
  });

  it("vfio-pci-dmabuf R34, R35: without translation each range has its own entries, unmapped as it was mapped", async () => {
    const ranges = [range(0n, 8n * GIB), range(8n * GIB, 4n * MIB)];
    const { importer, mapper } = await through(strategy, ranges, "bus");
    expect(attachKind(importer.attachment)).toBe("host-bridge-dma");
    const table = await importer.map();
    expect([...table].map(({ length }) => length)).toEqual([
      ...[0xffff_f000, 0xffff_f000, 0x2000],
      4 * 1024 * 1024,
    ]);
    // B23: two mappings, two unmaps, though the list has four entries.
    await importer.leave();
    expect(mapper.log.filter((line) => line.startsWith("unmap"))).toEqual([
      "unmap 0x200000000",
      "unmap 0x400000",
    ]);
    expect(mapper.clean).toBe(true);
  });

  it.each(["iova", "bus"] as const)(
    "dma-iova R31, B10, B11: a failure at any step of a %s mapping leaves what was there before",
    async (space) => {
      const ranges = [0n, 1n, 2n, 3n].map((i) => range(i * MIB, MIB));
      let failures = 0;
      for (let at = 1; at < 20; at++) {
        const { importer, mapper, device } = await through(strategy, ranges, space);
        const before = [...mapper.reserved.entries()];
        mapper.calls = 0;
        mapper.failAt = at;
        try {
          await importer.map();
        } catch (error) {
          expect(error).toMatchObject({ name: "DmaBufError" });
          expect([...mapper.reserved.entries()]).toEqual(before);
          expect(mapper.mapped.size).toBe(0);
          failures += 1;
        }
        mapper.failAt = undefined;
        await importer.unmap();
        expect((await importer.map()).size).toBe(4n * MIB);
        await device.reset();
        await importer.leave();
        expect(mapper.clean).toBe(true);
      }
      // Four links and a sync, or four mappings. A reservation that is refused is no failure: ranges are then mapped one by one.
      expect(failures).toBe(space === "iova" ? 5 : 4);
    },
  );

  it("vfio-pci-dmabuf R37: a list that cannot be allocated takes nothing with it", async () => {
    let fail = false;
    const all = await rig({
      answer: "thru-host-bridge",
      vfio: {
        iovaStrategy: strategy,
        allocate: (site) => {
          if (fail && site === "sg-table") throw new Error("no memory");
        },
      },
    });
    const mapper = new FakeMapper();
    using buffer = await all.device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0", mapper));
    const before = mapper.reserved.size;
    fail = true;
    await expect(importer.map()).rejects.toThrow("no memory");
    expect(mapper.reserved.size).toBe(before);
    fail = false;
    await importer.map();
    await importer.leave();
    expect(mapper.clean).toBe(true);
  });

  it("vfio-pci-dmabuf D2, known-bugs B20: maps, is revoked, comes back and maps again, many times", async () => {
    const { importer, mapper, device } = await through(strategy, [range(0n, MIB)]);
    for (let i = 0; i < 10; i++) {
      await importer.map();
      await importer.map();
      expect(mapper.mapped.size).toBe(2);
      await device.reset();
      expect(mapper.mapped.size).toBe(0);
    }
    await importer.leave();
    expect(mapper.clean).toBe(true);
  });

  it("vfio-pci-dmabuf D3, R14: two mappings at once have two IOVAs, and end in any order", async () => {
    for (const first of [0, 1]) {
      const { importer, mapper } = await through(strategy, [range(0n, MIB)]);
      const tables = [await importer.map(), await importer.map()];
      expect(new Set(tables.map((table) => table.entry(0).address)).size).toBe(2);
      const held = await importer.attachment.buffer.reservation.lock();
      const [gone] = importer.tables.splice(first, 1);
      if (gone !== undefined) importer.attachment.unmap(gone, "bidirectional", held);
      held.release();
      const rest = importer.tables[0];
      expect(mapper.translate(rest?.entry(0).address ?? 0n)).toBe(START);
      await importer.map();
      await importer.leave();
      expect(mapper.clean).toBe(true);
    }
  });

  it("vfio-pci-dmabuf D11: a refused pair takes nothing", async () => {
    const all = await rig({ answer: "not-supported", vfio: { iovaStrategy: strategy } });
    const mapper = new FakeMapper();
    using buffer = await all.device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0", mapper));
    expect((await errorOf(() => importer.map())).code).toBe("EINVAL");
    expect([mapper.log, mapper.clean]).toEqual([[], true]);
    await importer.leave();
    expect(mapper.log).toEqual([]);
  });
});

describe("when space is taken (section 4)", () => {
  it("mapping: allocated at map, destroyed at unmap", async () => {
    const { importer, mapper } = await through("mapping", [range(0n, MIB)]);
    expect(mapper.log).toEqual([]);
    await importer.map();
    await importer.leave();
    expect(mapper.log).toEqual([
      ...["alloc 0x100000", "link 0x0+0x100000", "sync 0x0+0x100000"],
      "destroy 0x100000",
    ]);
  });

  it("attachment, vfio-pci-dmabuf D1, known-bugs B19, vfio-pci-dmabuf D12: reserved at attach, linked, unlinked, freed once at detach", async () => {
    const { importer, mapper } = await through("attachment", [range(0n, MIB)]);
    expect(mapper.log).toEqual(["alloc 0x100000"]);
    expect(attachKind(importer.attachment)).toBe("host-bridge-iova");
    const first = (await importer.map()).entry(0).address;
    await importer.unmap();
    const second = (await importer.map()).entry(0).address;
    expect(second).toBe(first);
    await importer.leave();
    const cycle = ["link 0x0+0x100000", "sync 0x0+0x100000", "unlink 0x0+0x100000"];
    expect(mapper.log).toEqual(["alloc 0x100000", ...cycle, ...cycle, "free 0x100000"]);
  });

  it("attachment, vfio-pci-dmabuf D8: nothing is reserved for a device that cannot map, or goes by bus address", async () => {
    const all = await rig({ answer: "bus-addr", vfio: { iovaStrategy: "attachment" } });
    using buffer = await all.device.exportDmaBuf(ONE_PAGE);
    const mapper = new FakeMapper();
    const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0", mapper));
    await importer.map();
    await importer.leave();
    expect(mapper.log).toEqual([]);
  });

  it("attachment: no space at attach makes host-bridge-dma; the next map asks again", async () => {
    const all = await rig({ answer: "thru-host-bridge", vfio: { iovaStrategy: "attachment" } });
    using buffer = await all.device.exportDmaBuf(ONE_PAGE);
    const mapper = new FakeMapper();
    mapper.failAt = 1;
    const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0", mapper));
    expect(attachKind(importer.attachment)).toBe("host-bridge-dma");
    await importer.map();
    expect(attachKind(importer.attachment)).toBe("host-bridge-iova");
    await importer.leave();
    expect(mapper.clean).toBe(true);
  });

  it("attachment, vfio-pci-dmabuf D9: the kind follows the topology; space once reserved stays until detach", async () => {
    const { importer, mapper, p2p } = await through("attachment", [range(0n, MIB)]);
    p2p.answer = "bus-addr";
    expect((await importer.map()).space).toBe("bus");
    expect(attachKind(importer.attachment)).toBe("bus");
    p2p.answer = "thru-host-bridge";
    await importer.unmap();
    expect((await importer.map()).space).toBe("iova");
    await importer.leave();
    expect(mapper.clean).toBe(true);
  });

  it("is chosen by each export", async () => {
    const all = await rig({ answer: "thru-host-bridge" });
    using buffer = await all.device.exportDmaBuf({ ...ONE_PAGE, iovaStrategy: "attachment" });
    const mapper = new FakeMapper();
    const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0", mapper));
    expect(mapper.reserved.size).toBe(1);
    await importer.leave();
  });
});

describe("the way to the BAR, asked for at each map (vfio-pci-dmabuf section 4)", () => {
  it("by bus address all mappings share one list, whoever maps, and each is undone by itself", async () => {
    const { device } = await rig({ bars });
    const ranges = [range(MIB, MIB), range(0n, MIB)];
    const buffer = await device.exportDmaBuf({ bar: 0, ranges });
    const importers = ["0000:3c:00.0", "0000:3d:00.0"].map(
      (name) => new DynamicImporter(buffer, fakeDevice(name)),
    );
    const tables = await Promise.all(importers.map((importer) => importer.map()));
    const [first, second] = tables;
    expect(first === second).toBe(false);
    expect(first?.pfns).toBe(second?.pfns);
    for (const table of tables) {
      expect(table).toMatchObject({ via: "bus", space: "bus" });
      expect([...table].map(({ address }) => address)).toEqual([START + MIB, START]);
    }
    for (const importer of importers) await importer.leave();
  });

  it.each(["mapping", "attachment"] as const)(
    "%s: a list through the host bridge is never taken for one by bus address",
    async (strategy) => {
      const { importer, mapper, p2p } = await through(strategy, [range(MIB, MIB)]);
      expect((await importer.map()).space).toBe("iova");
      p2p.answer = "bus-addr";
      const bus = await importer.map();
      expect([bus.space, bus.entry(0).address]).toEqual(["bus", START + MIB]);
      await importer.leave();
      expect(mapper.clean).toBe(true);
    },
  );

  it("attachment: the kind of one that left is what the topology says", async () => {
    const { importer, mapper, p2p } = await through("attachment", [range(0n, MIB)]);
    await importer.leave();
    expect([attachKind(importer.attachment), mapper.clean]).toEqual(["host-bridge-iova", true]);
    p2p.answer = "not-supported";
    expect(attachKind(importer.attachment)).toBe("none");
  });

  it("a topology that does not know the device refuses the map; a defect of its own comes out", async () => {
    const answers = [
      new DmaBufError("ENODEV", "p2pdma", "no such device"),
      new TypeError("defect"),
    ];
    for (const answer of answers) {
      const mapType = (): never => {
        throw answer;
      };
      const vfio = new VfioPci({ p2pdma: { mapType } });
      const device = await vfio.open(new FakeFunction({ bars }));
      const buffer = await device.exportDmaBuf(ONE_PAGE);
      const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0"));
      if (answer instanceof TypeError) {
        await expect(importer.map()).rejects.toBe(answer);
        continue;
      }
      expect(attachKind(importer.attachment)).toBe("none");
      const error = await errorOf(() => importer.map());
      expect([error.code, error.rule, error.cause]).toEqual([
        "EINVAL",
        "vfio-pci-dmabuf R12",
        answer,
      ]);
    }
  });
});

describe('quirks: "linux-7.2"', () => {
  const linux = async (
    ranges: readonly Slice[],
    space: "bus" | "iova" = "iova",
  ): Promise<Mapped & { fail: { list: boolean } }> => {
    const fail = { list: false };
    const all = await rig({
      bars,
      answer: "thru-host-bridge",
      vfio: {
        quirks: "linux-7.2",
        allocate: (site) => {
          if (fail.list && site === "sg-table") throw new Error("no memory");
        },
      },
    });
    const mapper = new FakeMapper(space);
    const buffer = await all.device.exportDmaBuf({ bar: 0, ranges });
    const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0", mapper));
    return { ...all, mapper, importer, fail };
  };

  it("vfio-pci-dmabuf R36: two ranges through an IOMMU are EADDRINUSE; vfio-pci-dmabuf R39: the first is destroyed by its own size", async () => {
    const { importer, mapper } = await linux([range(0n, MIB), range(MIB, MIB)]);
    expect((await errorOf(() => importer.map())).code).toBe("EADDRINUSE");
    expect(mapper.log).toEqual(["alloc 0x200000", "link 0x0+0x100000", "destroy 0x100000"]);
    await importer.leave();
  });

  it("vfio-pci-dmabuf R36: one range, and several without translation or by bus address, work", async () => {
    const one = await linux([range(0n, 8n * GIB)]);
    expect((await one.importer.map()).entries).toBe(3);
    await one.importer.leave();
    expect(one.mapper.clean).toBe(true);
    const bus = await linux([range(0n, MIB), range(MIB, MIB)]);
    bus.p2p.answer = "bus-addr";
    expect((await bus.importer.map()).entries).toBe(2);
    await bus.importer.leave();
    const direct = await linux([range(0n, MIB), range(MIB, MIB)], "bus");
    expect((await direct.importer.map()).entries).toBe(2);
    await direct.importer.leave();
    expect(direct.mapper.clean).toBe(true);
  });

  it("vfio-pci-dmabuf R37: a failing first link, and a failing list, leak the IOVA", async () => {
    const link = await linux([range(0n, MIB)]);
    link.mapper.failAt = 2;
    await errorOf(() => link.importer.map());
    expect(link.mapper.reserved.size).toBe(1);
    const list = await linux([range(0n, MIB)]);
    list.fail.list = true;
    await expect(list.importer.map()).rejects.toThrow("no memory");
    expect(list.mapper.reserved.size).toBe(1);
  });

  it("vfio-pci-dmabuf R38: an unwind walks entries that were never filled, a first failure unmaps nothing", async () => {
    const ranges = [range(0n, MIB), range(MIB, 8n * GIB)];
    const calls: string[] = [];
    const unwound = async (failAt: number): Promise<string[]> => {
      const { importer, mapper } = await linux(ranges, "bus");
      const inner = mapper.unmapPhys.bind(mapper);
      calls.length = 0;
      mapper.unmapPhys = (address, length, direction) => {
        calls.push(`${address.toString(16)}+${length.toString(16)}`);
        if (address !== iova(0n)) inner(address, length, direction);
      };
      mapper.failAt = failAt;
      expect((await errorOf(() => importer.map())).code).toBe("ENOMEM");
      return [...calls];
    };
    expect(await unwound(1)).toEqual([]);
    expect(await unwound(2)).toEqual(["10000000000+100000", "0+0", "0+0", "0+0"]);
  });

  it("vfio-pci-dmabuf R38: the unwind counts entries as the list has them, and goes on where a mapper refuses it", async () => {
    const unwound = async (refusal: Error): Promise<{ nothing: number; error: unknown }> => {
      const ranges = [range(0n, MIB), range(MIB, 0xffff_f000n), range(0n, 0xffff_f000n + MIB)];
      const { importer, mapper } = await linux(ranges, "bus");
      let nothing = 0;
      const inner = mapper.unmapPhys.bind(mapper);
      mapper.unmapPhys = (address, length, direction) => {
        if (length !== 0n) {
          inner(address, length, direction);
          return;
        }
        nothing += 1;
        throw refusal;
      };
      mapper.failAt = 2;
      const error: unknown = await importer.map().catch((caught: unknown) => caught);
      return { nothing, error };
    };
    const strict = await unwound(new DmaBufError("EINVAL", "unmap", "nothing to unmap"));
    expect(strict).toMatchObject({ nothing: 3, error: { code: "ENOMEM" } });
    const broken = await unwound(new TypeError("a defect of the mapper"));
    expect(broken).toMatchObject({ nothing: 1, error: { message: "a defect of the mapper" } });
  });

  it("tells kind, space and way as the mended strategies do, with or without a list that can fail", async () => {
    for (const [space, kind] of [
      ["iova", "host-bridge-iova"],
      ["bus", "host-bridge-dma"],
    ] as const) {
      for (const vfio of [{ quirks: "linux-7.2" }, {}] as const) {
        const all = await rig({ bars, answer: "thru-host-bridge", vfio });
        const buffer = await all.device.exportDmaBuf(ONE_PAGE);
        const mapper = new FakeMapper(space);
        const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0", mapper));
        expect(attachKind(importer.attachment)).toBe(kind);
        expect(await importer.map()).toMatchObject({ space, via: kind });
        await importer.leave();
        expect(mapper.clean).toBe(true);
      }
    }
  });

  it("a device without a mapper is EOPNOTSUPP, and by bus address the list may fail too", async () => {
    const all = await rig({ bars, answer: "thru-host-bridge", vfio: { quirks: "linux-7.2" } });
    const buffer = await all.device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0"));
    expect((await errorOf(() => importer.map())).code).toBe("EOPNOTSUPP");
    const bus = await linux([range(0n, MIB)]);
    bus.p2p.answer = "bus-addr";
    bus.fail.list = true;
    await expect(bus.importer.map()).rejects.toThrow("no memory");
  });

  it("vfio-pci-dmabuf R38: a range longer than an entry is mapped whole and unmapped in pieces", async () => {
    const { importer, mapper } = await linux([range(0n, 8n * GIB)], "bus");
    const lengths: bigint[] = [];
    mapper.unmapPhys = (_address, length) => void lengths.push(length);
    await importer.map();
    await importer.unmap();
    expect(lengths).toEqual([0xffff_f000n, 0xffff_f000n, 0x2000n]);
  });
});
