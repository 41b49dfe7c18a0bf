import { ADDRESS_LIMIT, DmaBufError, iova } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { type Hwpt, Iommufd } from "../src/index.js";
import { FakeBackend } from "./fixtures/backend.js";
import { FakeExporter, fakeDevice } from "./fixtures/exporter.js";

const MAX = ADDRESS_LIMIT - 1n;

function setup() {
  const backend = new FakeBackend();
  const iommufd = new Iommufd(backend);
  const ioas = iommufd.allocIoas();
  const exporter = new FakeExporter({ pin: true });
  const map = (at: bigint, length = 0x1000n, access: "r" | "rw" = "rw", offset = 0n) =>
    ioas.mapDmaBuf(exporter.buffer, { slice: { offset, length }, iova: iova(at), access });
  return { backend, iommufd, ioas, exporter, map };
}

describe("ids", () => {
  it("iommufd R2, M4: one space of ids; unknown and of another kind are ENOENT", () => {
    const { iommufd, ioas } = setup();
    const hwpt = ioas.allocHwpt(fakeDevice("a"));
    expect(new Set([ioas.id, hwpt.id, iommufd.bind(fakeDevice("b")).id]).size).toBe(3);
    expect(iommufd.ioas(ioas.id)).toBe(ioas);
    expect(iommufd.get(hwpt.id, "hwpt")).toBe(hwpt);
    for (const id of [hwpt.id, 99, 0]) {
      expect(() => iommufd.ioas(id)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    }
  });

  it("iommufd R2: the id of what is gone is ENOENT, and free for the next", async () => {
    const { iommufd, ioas } = setup();
    const { id } = ioas;
    await ioas.close();
    expect(() => iommufd.ioas(id)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    expect(iommufd.allocIoas().id).toBe(id);
  });
});

describe("unmap", () => {
  it("iommufd R23: returns the bytes of all whole areas in the range", async () => {
    const { ioas, exporter, map } = setup();
    await map(0x1_0000n);
    await map(0x1_1000n, 0x2000n);
    await map(0x2_0000n);
    expect(await ioas.unmap(iova(0n), 0x1_8000n)).toBe(0x3000n);
    expect(exporter.attachments).toBe(1);
    expect(await ioas.unmap(iova(0n), MAX)).toBe(0x1000n);
    expect(await ioas.unmap(iova(0n), MAX)).toBe(0n);
    expect(await ioas.unmapAll()).toBe(0n);
  });

  it("iommufd R23: a cut area is ENOENT; whole areas before it stay unmapped, the rest stays", async () => {
    const { ioas, map } = setup();
    await map(0x1_0000n);
    await map(0x2_0000n, 0x2000n);
    await expect(ioas.unmap(iova(0x1_0000n), 0x1_1000n)).rejects.toMatchObject({ code: "ENOENT" });
    expect(ioas.areaCount).toBe(1);
    await expect(ioas.unmap(iova(0x2_1000n), 0x1000n)).rejects.toMatchObject({ code: "ENOENT" });
    expect(await ioas.unmap(iova(0x2_0000n), 0x2000n)).toBe(0x2000n);
  });

  it.each([
    ["EOVERFLOW", MAX, 1n],
    ["EOVERFLOW", 1n, MAX],
    ["EOVERFLOW", MAX - 1n, 0x1000n],
    ["EINVAL", 0x1000n, 0n],
    ["ENOENT", 0x5000n, 0x1000n],
  ] as const)("iommufd R23: %s for iova %i, length %i", async (code, at, length) => {
    const { ioas, map } = setup();
    await map(0x1_0000n);
    await expect(ioas.unmap(iova(at), length)).rejects.toMatchObject({ code });
    expect(ioas.areaCount).toBe(1);
  });

  it("a mapping unmaps itself alone, not what took its place", async () => {
    const { ioas, map } = setup();
    const first = await map(0x1_0000n);
    await ioas.unmap(iova(0x1_0000n), 0x1000n);
    const second = await map(0x1_0000n);
    expect(await first.unmap()).toBe(0n);
    expect([first.mapped, second.mapped]).toEqual([false, true]);
  });

  it("iommufd R21: waits for a reservation that somebody holds; IOVA and translation are gone before", async () => {
    const { backend, ioas, exporter, map } = setup();
    ioas.attach(fakeDevice("a"));
    const mapping = await map(0x1_0000n);
    const held = await exporter.buffer.reservation.lock();
    let done = false;
    const unmapping = mapping.unmap().then(() => {
      done = true;
    });
    for (let i = 0; i < 10; i++) await Promise.resolve();
    expect(done).toBe(false);
    expect(backend.space.domains[0]?.mapped.size).toBe(0);
    expect(exporter.steps).not.toContain("unpin");
    held.release();
    await unmapping;
    expect(exporter.steps.slice(-2)).toEqual(["unpin", "detach"]);
  });
});

describe("copy", () => {
  it("iommufd R9, R24: shares the attachment; the last of both areas releases it", async () => {
    const { iommufd, ioas, exporter, map } = setup();
    const other = iommufd.allocIoas();
    const mapping = await map(0x1_0000n, 0x4000n);
    const copy = other.copy(ioas, iova(0x1_1000n), 0x2000n, {
      iova: iova(0x8_0000n),
      access: "rw",
    });
    expect(copy).toMatchObject({ iova: 0x8_0000n, length: 0x2000n });
    expect(exporter.attachments).toBe(1);
    await mapping.unmap();
    expect(exporter.attachments).toBe(1);
    await copy.unmap();
    expect(exporter.attachments).toBe(0);
  });

  it("iommufd R24: over two areas side by side, each part stays with its own buffer", async () => {
    const { backend, iommufd, ioas, exporter, map } = setup();
    const second = new FakeExporter();
    const other = iommufd.allocIoas();
    other.attach(fakeDevice("a"));
    await map(0x1_0000n, 0x2000n);
    await ioas.mapDmaBuf(second.buffer, {
      slice: { offset: 0x4000n, length: 0x1000n },
      iova: iova(0x1_2000n),
      access: "rw",
    });
    const copy = other.copy(ioas, iova(0x1_1000n), 0x2000n, {
      iova: iova(0x8_0000n),
      access: "r",
    });
    expect(copy.length).toBe(0x2000n);
    const areas = [...(backend.spaces[1]?.areas.values() ?? [])];
    expect(areas.map(({ iova: at, request }) => [at, request.slice.offset])).toEqual([
      [0x8_0000n, 0x1000n],
      [0x8_1000n, 0x4000n],
    ]);
    await exporter.move(true);
    expect([...(backend.spaces[1]?.domains[0]?.mapped.keys() ?? [])]).toEqual([0x8_1000n]);
    expect(await copy.unmap()).toBe(0x2000n);
  });

  it("iommufd R24, section 5: widening a read-only import is EPERM, after the errors of the place", async () => {
    const { backend, iommufd, ioas, map } = setup();
    const other = iommufd.allocIoas();
    await map(0x1_0000n, 0x1000n, "r");
    const copy = (access: "r" | "rw", at: bigint) =>
      other.copy(ioas, iova(0x1_0000n), 0x1000n, { iova: iova(at), access });
    expect(() => copy("rw", 0x8_0800n)).toThrow(expect.objectContaining({ code: "EINVAL" }));
    expect(() => copy("rw", 0x8_0000n)).toThrow(expect.objectContaining({ code: "EPERM" }));
    expect(backend.spaces[1]?.areas.size).toBe(0);
    copy("r", 0x8_0000n);
    expect(() => copy("rw", 0x8_0000n)).toThrow(expect.objectContaining({ code: "EEXIST" }));
  });

  it("iommufd R24: a read-only copy of a writable import may be widened again", async () => {
    const { iommufd, ioas, map } = setup();
    const other = iommufd.allocIoas();
    await map(0x1_0000n);
    const narrow = other.copy(ioas, iova(0x1_0000n), 0x1000n, { access: "r" });
    expect(() => ioas.copy(other, narrow.iova, 0x1000n, { access: "rw" })).not.toThrow();
  });

  it.each([
    ["EOVERFLOW", { length: MAX }],
    ["EOVERFLOW", { source: MAX }],
    ["EOVERFLOW", { iova: iova(MAX) }],
    ["EINVAL", { access: "" as "r" }],
    ["EINVAL", { length: 0n }],
    ["ENOENT", { length: 0x2000n }],
    ["ENOENT", { source: 0x5000n }],
  ] as const)("iommufd R24: %s for %o", async (code, change) => {
    const { iommufd, ioas, map } = setup();
    const other = iommufd.allocIoas();
    await map(0x1_0000n);
    const { source, length, ...request } = {
      source: 0x1_0000n,
      length: 0x1000n,
      access: "r" as const,
      ...change,
    };
    expect(() => other.copy(ioas, iova(source), length, request)).toThrow(
      expect.objectContaining({ code }),
    );
    expect(other.areaCount).toBe(0);
  });
});

describe("page tables and devices", () => {
  it("iommufd R26: devices that fit share one automatic page table, which ends with the last of them", () => {
    const { iommufd, ioas } = setup();
    const [a, b] = [fakeDevice("a"), fakeDevice("b")];
    const hwpt = ioas.attach(a);
    expect(hwpt).toMatchObject({ type: "hwpt", automatic: true });
    expect(ioas.attach(b)).toBe(hwpt);
    expect(hwpt.devices).toEqual(["a", "b"]);
    ioas.detach(a);
    expect(iommufd.get(hwpt.id)).toBe(hwpt);
    ioas.detach(b);
    expect(() => iommufd.get(hwpt.id)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    expect(() => {
      ioas.detach(b);
    }).toThrow(expect.objectContaining({ code: "EINVAL" }));
  });

  it("iommufd R26: a page table of one's own is kept until freed, and not while devices use it", () => {
    const { ioas } = setup();
    const device = fakeDevice("a");
    const hwpt = ioas.allocHwpt(device);
    expect(ioas.attach(device, hwpt)).toBe(hwpt);
    expect(() => {
      hwpt.free();
    }).toThrow(expect.objectContaining({ code: "EBUSY" }));
    ioas.detach(device);
    expect([...ioas.hwpts]).toEqual([hwpt]);
    hwpt.free();
    expect([...ioas.hwpts]).toEqual([]);
  });

  it("iommufd R27, R28: what the backend refuses at attach comes through and nothing is attached", () => {
    const { backend, ioas } = setup();
    backend.space.failAttach = new DmaBufError("EADDRINUSE", "fake.attach", "in the way");
    expect(() => ioas.attach(fakeDevice("a"))).toThrow(
      expect.objectContaining({ code: "EADDRINUSE" }),
    );
    expect([...ioas.hwpts]).toEqual([]);
  });

  it("iommufd R29: flags no backend carries are EOPNOTSUPP; a page table of another space is EINVAL", () => {
    const { iommufd, ioas } = setup();
    const device = fakeDevice("a");
    for (const flags of [1, 2, 4, 8, 16]) {
      expect(() => ioas.allocHwpt(device, { flags })).toThrow(
        expect.objectContaining({ code: "EOPNOTSUPP" }),
      );
    }
    const foreign = iommufd.allocIoas().allocHwpt(device);
    expect(() => ioas.attach(device, foreign)).toThrow(expect.objectContaining({ code: "EINVAL" }));
  });

  it("a device attached elsewhere moves; where that fails it stays", () => {
    const { backend, iommufd, ioas } = setup();
    const other = iommufd.allocIoas();
    const device = fakeDevice("a");
    const own = ioas.allocHwpt(device);
    ioas.attach(device, own);
    const moved = other.attach(device);
    expect([own.devices, moved.devices]).toEqual([[], ["a"]]);
    backend.space.failAttach = new DmaBufError("EADDRINUSE", "fake.attach", "in the way");
    expect(() => ioas.replace(device, own)).toThrow(
      expect.objectContaining({ code: "EADDRINUSE" }),
    );
    const devices = [...other.hwpts].map((hwpt: Hwpt) => hwpt.devices);
    expect(devices).toEqual([["a"]]);
    expect(() => other.replace(fakeDevice("b"))).toThrow(
      expect.objectContaining({ code: "EINVAL" }),
    );
  });

  it("a replace that fails leaves the automatic page table what it was: object, id and place", () => {
    const { backend, iommufd, ioas } = setup();
    const other = iommufd.allocIoas();
    const device = fakeDevice("a");
    const automatic = ioas.attach(device);
    const { id, domain } = automatic;
    const [, space] = backend.spaces;
    if (space === undefined) throw new Error("two address spaces");
    space.failAttach = new DmaBufError("EADDRINUSE", "fake.attach", "in the way");
    for (const move of [() => other.replace(device), () => other.attach(device)]) {
      expect(move).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
    }
    expect([...ioas.hwpts]).toEqual([automatic]);
    expect(iommufd.get(id, "hwpt")).toBe(automatic);
    expect(ioas.attach(device)).toBe(automatic);
    expect([automatic.domain, automatic.devices]).toEqual([domain, ["a"]]);
    expect(backend.space.domains).toEqual([domain]);
    space.failAttach = undefined;
    const moved = other.replace(device);
    expect([[...ioas.hwpts], backend.space.domains, moved.devices]).toEqual([[], [], ["a"]]);
    expect(() => iommufd.get(id)).toThrow(expect.objectContaining({ code: "ENOENT" }));
  });

  it("iommufd R30: a device may import its own BAR: nobody is asked for a route", async () => {
    const { ioas, map } = setup();
    ioas.attach(fakeDevice("0000:01:00.0"));
    expect((await map(0x1_0000n)).mapped).toBe(true);
  });
});

describe("in-kernel access", () => {
  it("iommufd section 5, known-bugs B26: pin and rw are refused before and after a revoke", async () => {
    const { ioas, exporter, map } = setup();
    await map(0x1_0000n);
    await map(0x2_0000n, 0x1000n, "r");
    const access = ioas.createAccess();
    for (const revoked of [false, true]) {
      if (revoked) await exporter.move(true);
      for (const [at, write, code] of [
        [0x1_0000n, false, "EINVAL"],
        [0x1_0000n, true, "EINVAL"],
        [0x2_0000n, true, "EPERM"],
        [0x2_0000n, false, "EINVAL"],
        [0x3_0000n, false, "ENOENT"],
      ] as const) {
        const expected = expect.objectContaining({ code }) as Error;
        expect(() => access.pinPages(iova(at), 0x1000n, { write })).toThrow(expected);
        expect(() => access.rw(iova(at), new Uint8Array(8), { write })).toThrow(expected);
      }
    }
    access.close();
    expect(() => access.pinPages(iova(0x1_0000n), 1n, { write: false })).toThrow(
      expect.objectContaining({ code: "EBADF" }),
    );
  });

  it("iommufd section 5: CHANGE_PROCESS is EINVAL while any address space shows a dma-buf", async () => {
    const { iommufd, map } = setup();
    iommufd.changeProcess();
    const mapping = await map(0x1_0000n);
    expect(() => {
      iommufd.changeProcess();
    }).toThrow(expect.objectContaining({ code: "EINVAL" }));
    await mapping.unmap();
    iommufd.changeProcess();
  });
});

describe("the end", () => {
  it("destroying an address space in use is EBUSY; closing it ends everything", async () => {
    const { backend, ioas, exporter, map } = setup();
    ioas.attach(fakeDevice("a"));
    ioas.createAccess();
    await map(0x1_0000n);
    await expect(ioas.destroy()).rejects.toMatchObject({ code: "EBUSY" });
    await ioas.close();
    await ioas.close();
    expect(exporter.attachments).toBe(0);
    expect(exporter.buffer.references).toBe(1);
    expect(backend.space.disposed).toBe(true);
    await expect(map(0x1_0000n)).rejects.toMatchObject({ code: "EBADF" });
    expect(() => ioas.attach(fakeDevice("a"))).toThrow(expect.objectContaining({ code: "EBADF" }));
  });

  it("iommufd R2: a map or an unmap under way uses the address space; destroying it is EBUSY until that is done", async () => {
    const { ioas, exporter, map } = setup();
    const lock = () => exporter.buffer.reservation.lock();
    const busy = () => expect(ioas.destroy()).rejects.toMatchObject({ code: "EBUSY" });
    let held = await lock();
    const mapping = map(0x1_0000n);
    await busy();
    held.release();
    const mapped = await mapping;
    held = await lock();
    const unmapping = mapped.unmap();
    await busy();
    held.release();
    await unmapping;
    await ioas.destroy();
    expect(exporter.buffer.references).toBe(1);
  });

  it("closing the iommufd closes every address space, and later use is EBADF", async () => {
    const { backend, iommufd, exporter, map } = setup();
    const other = iommufd.allocIoas();
    await map(0x1_0000n);
    await iommufd.close();
    expect(backend.spaces.every(({ disposed }) => disposed)).toBe(true);
    expect(exporter.attachments).toBe(0);
    expect(() => iommufd.allocIoas()).toThrow(expect.objectContaining({ code: "EBADF" }));
    expect(() => {
      other.allow([]);
    }).toThrow(expect.objectContaining({ code: "EBADF" }));
  });

  it("iommufd R4, R5: ranges, alignment and allowed ranges are the address space's own", () => {
    const { backend, ioas } = setup();
    expect(ioas.alignment).toBe(0x1000n);
    expect(ioas.ranges).toBe(backend.space.ranges);
    const allowed = [{ first: iova(0x10_0000n), last: iova(0x1f_ffffn) }];
    ioas.allow(allowed);
    expect(backend.space.allowed).toBe(allowed);
  });
});
