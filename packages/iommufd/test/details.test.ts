import { asyncDispose, DmaBufError, type DmaBufEvent, dispose, iova } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { Iommufd, type IommufdOptions } from "../src/index.js";
import { FakeBackend } from "./fixtures/backend.js";
import { FakeExporter, fakeDevice } from "./fixtures/exporter.js";

const PAGE = 0x1000n;
const whole = { offset: 0n, length: 0x4000n };

function setup(options: IommufdOptions = {}) {
  const backend = new FakeBackend();
  const iommufd = new Iommufd(backend, options);
  const ioas = iommufd.allocIoas();
  const exporter = new FakeExporter();
  const map = (at: bigint, slice = whole) =>
    ioas.mapDmaBuf(exporter.buffer, { slice, iova: iova(at), access: "rw" });
  return { backend, iommufd, ioas, exporter, map };
}

describe("events", () => {
  it("tell of maps, revokes, restores and unmaps, one each", async () => {
    const seen: DmaBufEvent[] = [];
    const events = { emit: (event: DmaBufEvent) => seen.push(event) };
    const { iommufd, ioas, exporter, map } = setup({ events, remapOnRestore: true });
    const mapping = await map(0x1_0000n);
    ioas.copy(ioas, iova(0x1_0000n), PAGE, { iova: iova(0x8_0000n), access: "r" });
    await exporter.move(true);
    await exporter.move(false);
    await iommufd.settled();
    await mapping.unmap();
    expect(seen).toEqual([
      { type: "iommufd-map", buffer: "fake", ioas: 1, iova: 0x1_0000n, length: 0x4000n },
      { type: "iommufd-map", buffer: "fake", ioas: 1, iova: 0x8_0000n, length: PAGE },
      { type: "iommufd-revoke", buffer: "fake", areas: 2 },
      { type: "iommufd-restore", buffer: "fake", areas: 2 },
      { type: "iommufd-unmap", ioas: 1, iova: 0x1_0000n, length: 0x4000n },
    ]);
  });
});

describe("ids (iommufd R2)", () => {
  it("the lowest free one is taken, also below the last", async () => {
    const { iommufd } = setup();
    const spaces = [1, 2, 3].map(() => iommufd.allocIoas());
    expect(spaces.map(({ id }) => id)).toEqual([2, 3, 4]);
    await spaces[2]?.close();
    await spaces[0]?.close();
    expect([1, 2, 3].map(() => iommufd.allocIoas().id)).toEqual([2, 4, 5]);
  });

  it("a bound device has one object, and its id stays when it is attached and detached", () => {
    const { iommufd, ioas } = setup();
    const device = fakeDevice("a");
    const { id } = iommufd.bind(device);
    ioas.attach(device);
    ioas.detach(device);
    expect(iommufd.bind(device).id).toBe(id);
    expect(iommufd.get(id, "device")).toBe(iommufd.bind(device));
    expect(iommufd.get(id)).toBe(iommufd.bind(device));
  });

  it("what attach binds has an id of its own", () => {
    const { iommufd, ioas } = setup();
    const device = fakeDevice("a");
    const hwpt = ioas.attach(device);
    expect(iommufd.bind(device).id).toBeLessThan(hwpt.id);
  });
});

describe("areas", () => {
  it("parts of two areas side by side are copied where they are, first and last ones cut", async () => {
    const { backend, iommufd, ioas, map } = setup();
    const other = iommufd.allocIoas();
    await map(0x1_0000n);
    await map(0x1_4000n);
    await map(0x1_8000n);
    const copy = other.copy(ioas, iova(0x1_2000n), 0x8000n, {
      iova: iova(0x8_0000n),
      access: "rw",
    });
    const areas = [...(backend.spaces[1]?.areas.values() ?? [])];
    expect(
      areas.map(({ iova: at, request: { slice } }) => [at, slice.offset, slice.length]),
    ).toEqual([
      [0x8_0000n, 0x2000n, 0x2000n],
      [0x8_2000n, 0n, 0x4000n],
      [0x8_6000n, 0n, 0x2000n],
    ]);
    expect([copy.iova, copy.length, copy.mapped, copy.revoked]).toEqual([
      0x8_0000n,
      0x8000n,
      true,
      false,
    ]);
    await other.unmap(iova(0x8_2000n), 0x4000n);
    expect([copy.mapped, await copy.unmap(), copy.mapped]).toEqual([true, 0x4000n, false]);
  });

  it("beyond Linux: a cut copy comes back with the very part of the buffer it showed (iommufd R24)", async () => {
    const { backend, iommufd, ioas, exporter, map } = setup({ remapOnRestore: true });
    const other = iommufd.allocIoas();
    await map(0x1_0000n, { offset: 0x1000n, length: 0x3000n });
    await map(0x1_3000n);
    other.copy(ioas, iova(0x1_1000n), 0x3000n, { iova: iova(0x8_0000n), access: "rw" });
    const shown = () =>
      [...(backend.spaces[1]?.areas.values() ?? [])].map(({ iova: at, request: { slice } }) => [
        at,
        slice.offset,
        slice.length,
      ]);
    const parts = [
      [0x8_0000n, 0x2000n, 0x2000n],
      [0x8_2000n, 0n, 0x1000n],
    ];
    expect(shown()).toEqual(parts);
    await exporter.move(true);
    await exporter.move(false);
    await iommufd.settled();
    expect(shown()).toEqual(parts);
  });

  it("a cut copy that fails at its second part leaves nothing of its first", async () => {
    const { backend, iommufd, ioas, map } = setup();
    const other = iommufd.allocIoas();
    await map(0x1_0000n);
    await map(0x1_4000n);
    const space = backend.spaces[1];
    if (space === undefined) throw new Error("no second space");
    const right = space.copy.bind(space);
    let calls = 0;
    space.copy = (...args) => {
      calls += 1;
      if (calls === 3) throw new Error("the second part");
      return right(...args);
    };
    const wide = { iova: iova(0x8_0000n), access: "rw" } as const;
    expect(() => other.copy(ioas, iova(0x1_0000n), 0x8000n, wide)).toThrow("the second part");
    expect([space.areas.size, other.areaCount]).toEqual([0, 0]);
  });

  it("unmap takes areas that begin and end with the range, and none beside it", async () => {
    const { ioas, map } = setup();
    for (const at of [0x1_0000n, 0x1_4000n, 0x1_8000n]) await map(at);
    expect(await ioas.unmap(iova(0x1_4000n), 0x4000n)).toBe(0x4000n);
    expect(ioas.areaCount).toBe(2);
    await expect(ioas.unmap(iova(0x1_4000n), 0x4001n)).rejects.toMatchObject({ code: "ENOENT" });
    expect(await ioas.unmapAll()).toBe(0x8000n);
  });

  it("a mapping that lost one of two buffers counts as revoked, and is mapped until both are gone", async () => {
    const { iommufd, ioas, exporter, map } = setup();
    const second = new FakeExporter();
    const other = iommufd.allocIoas();
    await map(0x1_0000n);
    await ioas.mapDmaBuf(second.buffer, { slice: whole, iova: iova(0x1_4000n), access: "rw" });
    const copy = other.copy(ioas, iova(0x1_0000n), 0x8000n, { access: "r" });
    await exporter.move(true);
    expect([copy.revoked, copy.mapped]).toEqual([true, true]);
    await copy[asyncDispose]();
    expect(copy.mapped).toBe(false);
  });
});

describe("the end of an address space", () => {
  it("destroy works once nothing uses it, and a second one is harmless", async () => {
    const { ioas, exporter, map } = setup();
    await map(0x1_0000n);
    const access = ioas.createAccess();
    await expect(ioas.destroy()).rejects.toMatchObject({ code: "EBUSY" });
    access.close();
    await ioas.destroy();
    await ioas.destroy();
    expect(exporter.attachments).toBe(0);
  });

  it("an access refuses under its rule while it is open, and ends with its scope (iommufd section 5)", async () => {
    const { ioas, map } = setup();
    await map(0x1_0000n);
    const access = ioas.createAccess();
    const pin = () => access.pinPages(iova(0x1_0000n), PAGE, { write: false });
    const refused = { code: "EINVAL", syscall: "iommufd.access.pinPages" };
    expect(pin).toThrow(expect.objectContaining({ ...refused, rule: "iommufd section 5" }));
    access[dispose]();
    expect(pin).toThrow(expect.objectContaining({ ...refused, code: "EBADF" }));
    await ioas.destroy();
  });

  it("close ends accesses, page tables and devices, of which others can then be made", async () => {
    const { backend, iommufd, ioas } = setup();
    const access = ioas.createAccess();
    const device = fakeDevice("a");
    const [own] = [ioas.allocHwpt(device)];
    ioas.attach(device, own);
    await ioas.close();
    expect(backend.space.domains).toEqual([]);
    expect(backend.space.disposed).toBe(true);
    for (const { id } of [access, own, ioas]) {
      expect(() => iommufd.get(id)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    }
    expect(() => iommufd.allocIoas().attach(device)).not.toThrow();
  });

  it("disposing ends it as close does", async () => {
    const { iommufd, ioas, exporter, map } = setup();
    await map(0x1_0000n);
    await ioas[asyncDispose]();
    expect(exporter.attachments).toBe(0);
    await iommufd[asyncDispose]();
    expect(() => iommufd.allocIoas()).toThrow(expect.objectContaining({ code: "EBADF" }));
  });

  it("iommufd R21: an exporter that throws at unpin leaves its reservation free, and the next close goes on", async () => {
    const { iommufd, ioas } = setup();
    const exporter = new FakeExporter({ pin: true });
    const mapping = await ioas.mapDmaBuf(exporter.buffer, { slice: whole, access: "rw" });
    exporter.failing = { step: "unpin", error: new DmaBufError("EIO", "fake.unpin", "broken") };
    await expect(mapping.unmap()).rejects.toMatchObject({ code: "EIO" });
    expect([mapping.mapped, exporter.buffer.reservation.isLocked]).toEqual([false, false]);
    await expect(iommufd.close()).rejects.toMatchObject({ code: "EIO" });
    expect(exporter.attachments).toBe(1);
    exporter.failing = undefined;
    await iommufd.close();
    await ioas.close();
    expect([exporter.attachments, exporter.buffer.references]).toEqual([0, 1]);
    expect(exporter.steps.slice(-2)).toEqual(["unpin", "detach"]);
  });

  it("a close that the backend refuses goes on at the next: the rest unmapped, the space gone, its id free", async () => {
    const { backend, iommufd, ioas, exporter, map } = setup();
    await map(0x1_0000n);
    await map(0x2_0000n);
    backend.space.failUnmap = new DmaBufError("EIO", "fake.unmap", "broken");
    await expect(ioas.close()).rejects.toMatchObject({ code: "EIO" });
    expect(() => ioas.allow([])).toThrow(expect.objectContaining({ code: "EBADF" }));
    expect([backend.space.disposed, ioas.areaCount]).toEqual([false, 2]);
    backend.space.failUnmap = undefined;
    await ioas.close();
    expect([backend.space.disposed, exporter.attachments]).toEqual([true, 0]);
    expect(iommufd.allocIoas().id).toBe(ioas.id);
  });

  it("a second close of the iommufd waits for the first", async () => {
    const { iommufd, exporter, map } = setup();
    await map(0x1_0000n);
    const held = await exporter.buffer.reservation.lock();
    const first = iommufd.close();
    let second = false;
    const waits = iommufd.close().then(() => {
      second = true;
    });
    for (let i = 0; i < 30; i++) await Promise.resolve();
    expect(second).toBe(false);
    held.release();
    await Promise.all([first, waits]);
    expect(exporter.attachments).toBe(0);
  });

  it.each([false, true])(
    "the last close waits for a map under way, as for every call: it leaves nothing (iommufd R12, R22); space closed before: %s",
    async (closesSpace) => {
      const { iommufd, ioas, exporter, map } = setup();
      const held = await exporter.buffer.reservation.lock();
      const refused = expect(map(0x1_0000n)).rejects.toMatchObject({ code: "EBADF" });
      if (closesSpace) await ioas.close();
      let left: readonly number[] = [];
      const closed = iommufd.close().then(() => {
        left = [exporter.attachments, exporter.buffer.references];
      });
      for (let i = 0; i < 30; i++) await Promise.resolve();
      expect(left).toEqual([]);
      held.release();
      await closed;
      expect(left).toEqual([0, 1]);
      await refused;
    },
  );

  it("a second close waits for the buffers that the first lets go", async () => {
    const { ioas, exporter, map } = setup();
    await map(0x1_0000n);
    const held = await exporter.buffer.reservation.lock();
    const first = ioas.close();
    let ended = false;
    const second = ioas.close().then(() => {
      ended = true;
    });
    for (let i = 0; i < 50; i++) await Promise.resolve();
    expect(ended).toBe(false);
    held.release();
    await Promise.all([first, second]);
    expect(exporter.attachments).toBe(0);
  });
});

describe("devices", () => {
  it("iommufd R26: attaching again where it is attached changes nothing; another page table moves it, the space itself to an automatic one", () => {
    const { backend, ioas } = setup();
    const device = fakeDevice("a");
    const automatic = ioas.attach(device);
    expect(ioas.attach(device)).toBe(automatic);
    expect(ioas.replace(device, automatic)).toBe(automatic);
    const own = ioas.allocHwpt(device);
    expect(ioas.replace(device, own)).toBe(own);
    expect(ioas.replace(device, own)).toBe(own);
    expect([own.devices, automatic.devices]).toEqual([["a"], []]);
    expect(backend.space.domains.map(({ devices }) => devices)).toEqual([["a"]]);
    const again = ioas.replace(device);
    expect(again).not.toBe(own);
    expect(ioas.attach(device)).toBe(again);
    expect([own.devices, again.devices]).toEqual([[], ["a"]]);
    ioas.detach(device);
    expect([...ioas.hwpts]).toEqual([own]);
    own.free();
    own.free();
    expect([...ioas.hwpts]).toEqual([]);
  });
});

describe("remapOnRestore", () => {
  it("waits for what is under way, and for nothing where it is off", async () => {
    const { iommufd, exporter, map } = setup({ remapOnRestore: true });
    const mapping = await map(0x1_0000n);
    await exporter.move(true);
    const held = await exporter.buffer.reservation.lock();
    exporter.buffer.invalidateMappings(held);
    exporter.buffer.invalidateMappings(held);
    exporter.revoked = false;
    let settled = false;
    const settling = iommufd.settled().then(() => {
      settled = true;
    });
    for (let i = 0; i < 50; i++) await Promise.resolve();
    expect([settled, mapping.revoked]).toEqual([false, true]);
    held.release();
    await settling;
    expect(mapping.revoked).toBe(false);
    await setup().iommufd.settled();
  });

  it("asks again where the exporter lifts the revoke after it has announced it, and tells that (vfio-pci-dmabuf section 2)", async () => {
    const { iommufd, exporter, map } = setup({ remapOnRestore: true });
    const mapping = await map(0x1_0000n);
    const told = () =>
      exporter.buffer.reservation.hold((held) => exporter.buffer.mappingsRestored(held));
    await exporter.move(true);
    await exporter.buffer.reservation.hold((held) => exporter.buffer.invalidateMappings(held));
    await iommufd.settled();
    expect(mapping.revoked).toBe(true);
    exporter.revoked = false;
    await told();
    await iommufd.settled();
    expect(mapping.revoked).toBe(false);
    exporter.revoked = true;
    await told();
    await iommufd.settled();
    expect(mapping.revoked).toBe(false);
  });

  it("where it is off, a revoke is for good, whoever tells that it is over (iommufd R15)", async () => {
    const { iommufd, exporter, map } = setup();
    const mapping = await map(0x1_0000n);
    await exporter.move(true);
    await exporter.move(false);
    await exporter.buffer.reservation.hold((held) => exporter.buffer.mappingsRestored(held));
    await iommufd.settled();
    expect(mapping.revoked).toBe(true);
  });

  it("iommufd R16: a restore that fails leaves the mapping dead, its IOVA occupied, and unmappable all the same", async () => {
    const { backend, iommufd, ioas, exporter, map } = setup({ remapOnRestore: true });
    const mapping = await map(0x1_0000n);
    await exporter.move(true);
    const { space } = backend;
    space.failMap = new DmaBufError("ENOMEM", "fake.map", "no room");
    await exporter.move(false);
    await iommufd.settled();
    expect(mapping.revoked).toBe(true);
    space.failMap = undefined;
    await expect(map(0x1_0000n)).rejects.toMatchObject({ code: "EEXIST" });
    expect(await mapping.unmap()).toBe(0x4000n);
    expect([ioas.areaCount, exporter.attachments]).toEqual([0, 0]);
  });

  it("without it a restore is not even looked at", async () => {
    const { exporter, map } = setup();
    const mapping = await map(0x1_0000n);
    await exporter.move(true);
    const opens = exporter.steps.filter((step) => step.startsWith("open")).length;
    await exporter.move(false);
    for (let i = 0; i < 50; i++) await Promise.resolve();
    expect(exporter.steps.filter((step) => step.startsWith("open")).length).toBe(opens);
    expect(mapping.revoked).toBe(true);
  });
});

describe("interconnects", () => {
  it("never asks for a list of DMA addresses, even where the backend takes one", async () => {
    const backend = new FakeBackend({ accepts: ["sgt", "phys"] });
    const ioas = new Iommufd(backend).allocIoas();
    const exporter = new FakeExporter({ offers: ["sgt", "phys"] });
    await ioas.mapDmaBuf(exporter.buffer, { slice: whole, access: "r" });
    expect([...backend.space.areas.values()].map(({ name }) => name)).toEqual(["phys"]);
    expect(exporter.seen?.device).toMatchObject({
      name: "iommu",
      pciAddress: undefined,
      dmaMask: (1n << 64n) - 1n,
    });
  });
});
