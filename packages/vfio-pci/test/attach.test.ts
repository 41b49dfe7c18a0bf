import { DmaBufError } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { attachKind } from "../src/index.js";
import { errorOf, refusal } from "./fixtures/errors.js";
import { GIB, memoryBar } from "./fixtures/fake-function.js";
import { DynamicImporter, fakeDevice, revocable, softDevice } from "./fixtures/fake-importer.js";
import { FakeMapper } from "./fixtures/fake-mapper.js";
import { ONE_PAGE, rig } from "./fixtures/rig.js";

const NIC = "0000:3c:00.0";

describe("vfio-pci-dmabuf R10: the tests of attach, in order", () => {
  it("no peer-to-peer comes before revoked: a static importer", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    await device.writeConfig(4, 2, 0);
    const isStatic = await errorOf(() => buffer.attach(fakeDevice(NIC)));
    expect([isStatic.code, isStatic.rule]).toEqual(["EOPNOTSUPP", "vfio-pci-dmabuf R10"]);
    const noPeer = { allowPeer2Peer: false, invalidateMappings: () => undefined };
    expect(await refusal(() => buffer.attach(fakeDevice(NIC), noPeer))).toMatch(/^EOPNOTSUPP/);
  });

  it("known-bugs B4: revoked comes before not revocable", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    await device.writeConfig(4, 2, 0);
    const pinnedOnly = { allowPeer2Peer: true };
    expect(await refusal(() => buffer.attach(fakeDevice(NIC), pinnedOnly))).toMatch(/^ENODEV/);
    await device.writeConfig(4, 2, 2);
    expect(await refusal(() => buffer.attach(fakeDevice(NIC), pinnedOnly))).toMatch(/^EOPNOTSUPP/);
    expect([...buffer.attachments]).toEqual([]);
  });

  it("asks nothing of the topology: an unreachable device attaches, vfio-pci-dmabuf R12: and its map is EINVAL", async () => {
    const { device, p2p } = await rig({ answer: "not-supported" });
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC, new FakeMapper()));
    expect(attachKind(importer.attachment)).toBe("none");
    const error = await errorOf(() => importer.map());
    expect([error.code, error.rule]).toEqual(["EINVAL", "vfio-pci-dmabuf R12"]);
    expect(error.reason).toContain(`from ${NIC} to 0000:3b:00.0 is not-supported`);
    p2p.answer = "unknown";
    expect((await errorOf(() => importer.map())).reason).toContain("is unknown");
    await importer.leave();
  });
});

describe("attach kinds", () => {
  const cases = [
    ["bus", "bus-addr", fakeDevice(NIC)],
    ["host-bridge-iova", "thru-host-bridge", fakeDevice(NIC, new FakeMapper("iova"))],
    ["host-bridge-dma", "thru-host-bridge", fakeDevice(NIC, new FakeMapper("bus"))],
    ["none", "thru-host-bridge", fakeDevice(NIC)],
    ["none", "not-supported", fakeDevice(NIC, new FakeMapper())],
    ["none", "unknown", fakeDevice(NIC, new FakeMapper())],
    ["none", "bus-addr", softDevice("/dev/iommu")],
  ] as const;

  it.each(cases)("%s for %s", async (kind, answer, client) => {
    const { device, events } = await rig({ answer });
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const attachment = buffer.attach(client, revocable);
    expect(attachKind(attachment)).toBe(kind);
    expect(events.find((event) => event.type === "attach-kind")).toMatchObject({
      attachment: attachment.name,
      kind,
    });
    attachment.detach();
  });

  it("vfio-pci-dmabuf D9: the verdict is asked again at each map, not frozen at attach", async () => {
    const { device, p2p } = await rig({ answer: "bus-addr" });
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const mapper = new FakeMapper();
    const importer = new DynamicImporter(buffer, fakeDevice(NIC, mapper));
    expect((await importer.map()).space).toBe("bus");
    await importer.unmap();
    p2p.answer = "thru-host-bridge";
    expect((await importer.map()).space).toBe("iova");
    expect(attachKind(importer.attachment)).toBe("host-bridge-iova");
    await importer.leave();
    expect(mapper.clean).toBe(true);
  });

  it.each(["mapping", "attachment"] as const)(
    "none for a device that the topology does not know (%s): map is refused with its error as the cause",
    async (iovaStrategy) => {
      const { device, p2p } = await rig({ vfio: { iovaStrategy } });
      const unknown = new DmaBufError("ENODEV", "p2pdma", "no such function");
      p2p.asked.push = () => {
        throw unknown;
      };
      using buffer = await device.exportDmaBuf(ONE_PAGE);
      const importer = new DynamicImporter(buffer, fakeDevice(NIC, new FakeMapper()));
      expect(attachKind(importer.attachment)).toBe("none");
      const error = await errorOf(() => importer.map());
      expect([error.code, error.cause]).toEqual(["EINVAL", unknown]);
      await importer.leave();
    },
  );

  it("is undefined for buffers of other exporters", async () => {
    const { DmaBuf } = await import("@peerbar/core");
    const ops = {
      name: "other",
      offers: () => ["phys"] as const,
      map: () => {
        throw new Error("never mapped");
      },
      unmap: () => undefined,
      release: () => undefined,
    };
    using buffer = DmaBuf.export({ ops, size: 4096n });
    const attachment = buffer.attach(fakeDevice(NIC), revocable);
    expect(attachKind(attachment)).toBeUndefined();
    attachment.detach();
  });
});

describe("addresses", () => {
  it("bus: physical address plus the bus offset of the BAR (p2pdma R3, R5)", async () => {
    const bars = [memoryBar(0, 0x10_0000_0000n, GIB, -0x0f_0000_0000n)];
    const { device } = await rig({ bars });
    const ranges = [
      { offset: 0x2000n, length: 0x1000n },
      { offset: 0x1000n, length: 0x1000n },
    ];
    using buffer = await device.exportDmaBuf({ bar: 0, ranges });
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    expect([...(await importer.map())]).toEqual([
      { address: 0x1_0000_2000n, length: 0x1000 },
      { address: 0x1_0000_1000n, length: 0x1000 },
    ]);
    await importer.leave();
  });

  it("known-bugs B56: each entry has the length of its own range", async () => {
    const { device } = await rig();
    const ranges = [1n, 3n, 2n].map((pages) => ({ offset: 0n, length: pages * 0x1000n }));
    using buffer = await device.exportDmaBuf({ bar: 0, ranges });
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    const lengths = [...(await importer.map())].map(({ length }) => length);
    expect(lengths).toEqual([0x1000, 0x3000, 0x2000]);
    await importer.leave();
  });

  it("known-bugs B60: attach and map after close touch nothing of the device", async () => {
    const { device, fn, p2p } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    await device.close();
    const before = [fn.log.length, p2p.asked.length];
    expect(await refusal(() => buffer.attach(fakeDevice(NIC), revocable))).toMatch(/^ENODEV/);
    expect(await refusal(() => importer.map())).toMatch(/^ENODEV/);
    expect([fn.log.length, p2p.asked.length]).toEqual(before);
    await importer.leave();
  });

  it("vfio-pci-dmabuf R12, R13: map and unmap need the reservation held", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    const stale = buffer.reservation.lockNow();
    stale.release();
    expect((await errorOf(() => importer.mapHeld(stale))).code).toBe("ERR_PROTOCOL");
    const table = await importer.map();
    const unmap = (): void => {
      importer.attachment.unmap(table, "bidirectional", stale);
    };
    expect((await errorOf(unmap)).code).toBe("ERR_PROTOCOL");
    expect(importer.attachment.mappings).toBe(1);
    await importer.leave();
  });

  it("vfio-pci-dmabuf R11: an attachment survives a revoke, its map does not, and works again afterwards", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    await device.writeConfig(4, 2, 0);
    expect(await refusal(() => importer.map())).toBe("ENODEV vfio-pci-dmabuf R12");
    await device.writeConfig(4, 2, 2);
    expect((await importer.map()).entries).toBe(1);
    await importer.leave();
  });
});

describe("the physical way (vfio-pci-dmabuf R19, R20)", () => {
  it("gives the one range, uncounted", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf({
      bar: 0,
      ranges: [{ offset: 0x3000n, length: 0x2000n }],
    });
    const attachment = buffer.attach(softDevice("/dev/iommu"), revocable);
    expect(attachment.negotiate(["phys", "sgt"])).toBe("phys");
    const held = buffer.reservation.lockNow();
    expect(attachment.open("phys", held)).toEqual([{ start: 0x10_0000_3000n, length: 0x2000n }]);
    held.release();
    await device.writeConfig(4, 2, 0);
    expect(device.draining).toEqual([]);
    attachment.detach();
  });

  it("revoked comes before the number of ranges", async () => {
    const { device } = await rig();
    const range = { offset: 0n, length: 0x1000n };
    using buffer = await device.exportDmaBuf({ bar: 0, ranges: [range, range] });
    const attachment = buffer.attach(softDevice("/dev/iommu"), revocable);
    const open = (): unknown => {
      using held = buffer.reservation.lockNow();
      return attachment.open("phys", held);
    };
    expect(await refusal(open)).toBe("EOPNOTSUPP vfio-pci-dmabuf R20");
    await device.writeConfig(4, 2, 0);
    expect(await refusal(open)).toBe("ENODEV vfio-pci-dmabuf R20");
    attachment.detach();
  });

  it("an importer that wants something else hears both lists", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const attachment = buffer.attach(fakeDevice(NIC), revocable);
    const error = await errorOf(() => attachment.negotiate(["fd"]));
    expect(error.code).toBe("EOPNOTSUPP");
    expect(error.reason).toContain("[fd]");
    expect(error.reason).toContain("[sgt, phys]");
    attachment.detach();
  });
});
