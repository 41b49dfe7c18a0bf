import { ADDRESS_LIMIT, DmaBufError, iova } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { Iommufd } from "../src/index.js";
import { FakeBackend } from "./fixtures/backend.js";
import { FakeExporter, type FakeOptions } from "./fixtures/exporter.js";

const MAX = ADDRESS_LIMIT - 1n;

function setup(options: FakeOptions = {}) {
  const backend = new FakeBackend();
  const iommufd = new Iommufd(backend);
  const ioas = iommufd.allocIoas();
  const exporter = new FakeExporter(options);
  return { backend, iommufd, ioas, exporter, buffer: exporter.buffer };
}

function expectUntouched(exporter: FakeExporter): void {
  expect(exporter.attachments).toBe(0);
  expect(exporter.buffer.references).toBe(1);
  expect(exporter.buffer.reservation.isLocked).toBe(false);
}

describe("mapping a dma-buf", () => {
  it("iommufd R7: attaches as the non-PCI iommu device, peer to peer and revocable, and never maps", async () => {
    const { ioas, exporter, buffer } = setup({ pin: true });
    await ioas.mapDmaBuf(buffer, { slice: { offset: 0n, length: 0x2000n }, access: "rw" });
    expect(exporter.seen?.device).toMatchObject({ name: "iommu", pciAddress: undefined });
    expect(exporter.seen?.device.dma).toBeUndefined();
    expect(exporter.seen?.peer2peer).toBe(true);
    expect(exporter.seen?.revocable).toBe(true);
    expect(exporter.seen?.mappings).toBe(0);
    expect(exporter.steps).toEqual(["attach", "pin", "open phys"]);
  });

  it("iommufd R10, R11: hands the range and the unaligned slice to the address space as they are", async () => {
    const { ioas, exporter, backend, buffer } = setup();
    const slice = { offset: 0x1000n, length: 0x3000n };
    const mapping = await ioas.mapDmaBuf(buffer, { slice, iova: iova(0x80000n), access: "r" });
    const area = backend.space.areas.get(0x80000n);
    expect(area?.what).toBe(exporter.ranges);
    expect(area?.request).toEqual({ slice, iova: 0x80000n, access: "r" });
    expect(mapping).toMatchObject({ iova: 0x80000n, length: 0x3000n, revoked: false });
  });

  it("iommufd R9: every map attaches anew, for the same buffer too", async () => {
    const { ioas, exporter, buffer } = setup();
    const request = { slice: { offset: 0n, length: 0x1000n }, access: "rw" } as const;
    await ioas.mapDmaBuf(buffer, request);
    await ioas.mapDmaBuf(buffer, request);
    expect(exporter.attachments).toBe(2);
    expect(buffer.references).toBe(3);
  });

  it("iommufd R12, R21, B25, B58: closing the buffer keeps it; the last unmap unpins under the lock, detaches, then puts", async () => {
    const { ioas, exporter, buffer } = setup({ pin: true });
    const mapping = await ioas.mapDmaBuf(buffer, {
      slice: { offset: 0n, length: 0x1000n },
      access: "rw",
    });
    buffer.close();
    expect(buffer.released).toBe(false);
    exporter.steps.length = 0;
    expect(await mapping.unmap()).toBe(0x1000n);
    expect(await mapping.unmap()).toBe(0n);
    await Promise.resolve();
    expect(exporter.steps).toEqual(["unpin", "detach", "release"]);
    expect(buffer.released).toBe(true);
  });
});

describe("errors of a map, in the kernel's order", () => {
  const whole = { offset: 0n, length: 0x1000n };
  const cases: readonly (readonly [string, object, string])[] = [
    ["iommufd M2: an IOVA of 2^64-1, before M3", { iova: MAX, access: "" }, "EOVERFLOW"],
    [
      "iommufd M2: a length of 2^64-1, before M8",
      { slice: { offset: 0n, length: MAX } },
      "EOVERFLOW",
    ],
    ["iommufd M2: a negative IOVA", { iova: -1n }, "EOVERFLOW"],
    [
      "iommufd M3: no permission, before M6",
      { access: "", slice: { offset: MAX, length: 2n } },
      "EINVAL",
    ],
    ["iommufd M5: length 0, before M8", { slice: { offset: MAX, length: 0n } }, "EINVAL"],
    ["iommufd M6: offset + length wraps", { slice: { offset: MAX, length: 2n } }, "EOVERFLOW"],
    ["iommufd M6: a negative offset", { slice: { offset: -1n, length: 2n } }, "EOVERFLOW"],
    ["iommufd M8: one byte past the end", { slice: { offset: 0n, length: 0x10_0001n } }, "EINVAL"],
    ["iommufd M8: starts at the end", { slice: { offset: 0x10_0000n, length: 1n } }, "EINVAL"],
  ];
  it.each(cases)("%s", async (_title, change, code) => {
    const { ioas, exporter, buffer } = setup();
    const request = { slice: whole, access: "rw" as const, ...change };
    await expect(ioas.mapDmaBuf(buffer, request as never)).rejects.toMatchObject({ code });
    expect(exporter.steps).toEqual([]);
    expectUntouched(exporter);
  });

  it("iommufd M2, M6: what no u64 can carry, or wraps one, is EOVERFLOW by its own rule", async () => {
    const { ioas, buffer } = setup();
    for (const [rule, slice, at] of [
      ["iommufd M2", whole, MAX],
      ["iommufd M2", { offset: 0n, length: ADDRESS_LIMIT }, undefined],
      ["iommufd M6", { offset: MAX, length: 2n }, undefined],
    ] as const) {
      const request = {
        slice,
        access: "r" as const,
        ...(at === undefined ? {} : { iova: iova(at) }),
      };
      await expect(ioas.mapDmaBuf(buffer, request)).rejects.toMatchObject({
        code: "EOVERFLOW",
        rule,
      });
    }
  });

  it("iommufd M3 and M5 name their rules", async () => {
    const { ioas, buffer } = setup();
    await expect(
      ioas.mapDmaBuf(buffer, { slice: whole, access: "" as never }),
    ).rejects.toMatchObject({ rule: "iommufd M3" });
    await expect(
      ioas.mapDmaBuf(buffer, { slice: { offset: 0n, length: 0n }, access: "r" }),
    ).rejects.toMatchObject({ rule: "iommufd M5" });
  });

  it("iommufd M8: 2^32-1 pages and more are refused though the buffer has them", async () => {
    const { ioas, exporter, buffer } = setup({ size: 1n << 45n });
    const length = 0xffff_ffffn << 12n;
    await expect(
      ioas.mapDmaBuf(buffer, { slice: { offset: 0n, length }, access: "r" }),
    ).rejects.toMatchObject({ code: "EINVAL", rule: "iommufd M8" });
    expectUntouched(exporter);
    await ioas.mapDmaBuf(buffer, {
      slice: { offset: 0n, length: length - 0x1000n },
      access: "r",
    });
  });

  it("iommufd M7: a buffer that was released is EBADF", async () => {
    const { ioas, buffer } = setup();
    buffer.close();
    await expect(ioas.mapDmaBuf(buffer, { slice: whole, access: "r" })).rejects.toMatchObject({
      code: "EBADF",
    });
  });

  it("iommufd M10, M11: the exporter's attach error comes through, and the reference is dropped", async () => {
    for (const code of ["ENODEV", "EBUSY"] as const) {
      const { ioas, exporter, buffer } = setup({ pin: true });
      exporter.failing = { step: "attach", error: new DmaBufError(code, "fake.attach", "no") };
      await expect(ioas.mapDmaBuf(buffer, { slice: whole, access: "r" })).rejects.toMatchObject({
        code,
      });
      expect(exporter.steps).toEqual([]);
      expectUntouched(exporter);
    }
  });

  it("iommufd M12: a failed pin detaches and is not unpinned", async () => {
    const { ioas, exporter, buffer } = setup({ pin: true });
    exporter.failing = { step: "pin", error: new DmaBufError("ENOMEM", "fake.pin", "no") };
    await expect(ioas.mapDmaBuf(buffer, { slice: whole, access: "r" })).rejects.toMatchObject({
      code: "ENOMEM",
    });
    expect(exporter.steps).toEqual(["attach", "detach"]);
    expectUntouched(exporter);
  });

  it("iommufd M13, R22: an exporter without a common interconnect is EOPNOTSUPP after attach and pin, naming both lists", async () => {
    const { ioas, exporter, buffer } = setup({ pin: true, offers: ["sgt"] });
    await expect(ioas.mapDmaBuf(buffer, { slice: whole, access: "r" })).rejects.toMatchObject({
      code: "EOPNOTSUPP",
      reason: expect.stringMatching(/\[phys\].*\[sgt\]/) as unknown,
    });
    expect(exporter.steps).toEqual(["attach", "pin", "unpin", "detach"]);
    expectUntouched(exporter);
  });

  it("iommufd M14, R33: revoked between attach and query is ENODEV, undone", async () => {
    const { ioas, exporter, buffer } = setup({ pin: true });
    exporter.revoked = true;
    await expect(ioas.mapDmaBuf(buffer, { slice: whole, access: "r" })).rejects.toMatchObject({
      code: "ENODEV",
    });
    expect(exporter.steps).toEqual(["attach", "pin", "open phys", "unpin", "detach"]);
    expectUntouched(exporter);
  });

  it("iommufd M15: two ranges are EOPNOTSUPP, before M17", async () => {
    const range = { start: 0n as never, length: 0x1000n };
    const { ioas, exporter, buffer } = setup({ size: 0x2000n, ranges: [range, range] });
    await expect(
      ioas.mapDmaBuf(buffer, { slice: whole, iova: iova(1n), access: "r" }),
    ).rejects.toMatchObject({ code: "EOPNOTSUPP", rule: "iommufd M15" });
    expectUntouched(exporter);
  });

  it("iommufd M16, M17: the address space's refusal comes through, everything unwound", async () => {
    const { ioas, exporter, buffer } = setup({ pin: true });
    await ioas.mapDmaBuf(buffer, { slice: whole, iova: iova(0x4000n), access: "r" });
    const wrong = [
      ["EINVAL", { slice: { offset: 0n, length: 0x800n }, access: "r" }],
      ["EINVAL", { slice: whole, iova: iova(0x4800n), access: "r" }],
      ["EEXIST", { slice: whole, iova: iova(0x4000n), access: "r" }],
    ] as const;
    for (const [code, request] of wrong) {
      exporter.steps.length = 0;
      await expect(ioas.mapDmaBuf(buffer, request)).rejects.toMatchObject({ code });
      expect(exporter.steps).toEqual(["attach", "pin", "open phys", "unpin", "detach"]);
    }
    expect(exporter.attachments).toBe(1);
    expect(buffer.references).toBe(2);
    expect(ioas.areaCount).toBe(1);
  });

  it("iommufd M18, M20: no room, or a domain that cannot map, is the backend's errno, everything unwound", async () => {
    for (const code of ["ENOSPC", "ENOMEM"] as const) {
      const { ioas, exporter, backend, buffer } = setup({ pin: true });
      backend.space.failMap = new DmaBufError(code, "fake.map", "no");
      await expect(ioas.mapDmaBuf(buffer, { slice: whole, access: "r" })).rejects.toMatchObject({
        code,
      });
      expect(exporter.steps).toEqual(["attach", "pin", "open phys", "unpin", "detach"]);
      expectUntouched(exporter);
    }
  });

  it("gives up with EINTR while somebody else holds the reservation, and leaves nothing", async () => {
    const { ioas, exporter, buffer } = setup({ pin: true });
    const held = await buffer.reservation.lock();
    const controller = new AbortController();
    const mapping = ioas.mapDmaBuf(
      buffer,
      { slice: whole, access: "r" },
      { signal: controller.signal },
    );
    controller.abort();
    await expect(mapping).rejects.toMatchObject({ code: "EINTR" });
    held.release();
    expect(exporter.steps).toEqual(["attach", "detach"]);
    expectUntouched(exporter);
  });

  it("an address space closed while a map waits refuses it with EBADF and leaves nothing", async () => {
    const { ioas, exporter, buffer } = setup({ pin: true });
    const held = await buffer.reservation.lock();
    const mapping = ioas.mapDmaBuf(buffer, { slice: whole, access: "r" });
    await ioas.close();
    held.release();
    await expect(mapping).rejects.toMatchObject({ code: "EBADF" });
    expectUntouched(exporter);
  });
});

describe("interconnects", () => {
  it("prefers the backend's order and hands a file descriptor over", async () => {
    const backend = new FakeBackend({ accepts: ["fd", "phys"] });
    const ioas = new Iommufd(backend).allocIoas();
    const exporter = new FakeExporter({ offers: ["phys", "fd"] });
    await ioas.mapDmaBuf(exporter.buffer, {
      slice: { offset: 0n, length: 0x1000n },
      access: "rw",
    });
    const [area] = backend.space.areas.values();
    expect(area).toMatchObject({ name: "fd", what: 42 });
  });
});
