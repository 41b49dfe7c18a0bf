import { iova } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { Iommufd, type IommufdOptions } from "../src/index.js";
import { FakeBackend } from "./fixtures/backend.js";
import { FakeExporter, type FakeOptions, fakeDevice } from "./fixtures/exporter.js";

const slice = { offset: 0n, length: 0x4000n };

function setup(exporterOptions: FakeOptions = {}, options: IommufdOptions = {}) {
  const backend = new FakeBackend();
  const iommufd = new Iommufd(backend, options);
  const exporter = new FakeExporter(exporterOptions);
  return { backend, iommufd, ioas: iommufd.allocIoas(), exporter, buffer: exporter.buffer };
}

describe("revoke", () => {
  it("iommufd R14, R19: when the notification returns, no domain translates any more", async () => {
    const { backend, ioas, exporter, buffer } = setup();
    ioas.attach(fakeDevice("a"));
    ioas.allocHwpt(fakeDevice("b"));
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    expect(backend.space.domains.map(({ mapped }) => mapped.size)).toEqual([1, 1]);
    const held = buffer.reservation.lockNow();
    buffer.invalidateMappings(held);
    expect(backend.space.domains.map(({ mapped }) => mapped.size)).toEqual([0, 0]);
    expect(mapping.revoked).toBe(true);
    held.release();
    expect(exporter.attachments).toBe(1);
  });

  it("iommufd R14, section 8, B30: two address spaces with two domains each are exactly four unmaps, each once", async () => {
    const { backend, iommufd, ioas, exporter, buffer } = setup();
    const other = iommufd.allocIoas();
    for (const space of [ioas, other]) {
      space.allocHwpt(fakeDevice("a"));
      space.allocHwpt(fakeDevice("b"));
    }
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    const copy = other.copy(ioas, mapping.iova, mapping.length, { access: "r" });
    await exporter.move(true);
    await exporter.move(false);
    await exporter.move(true);
    const unmaps = backend.spaces.flatMap(({ domains }) => domains.map((domain) => domain.unmaps));
    expect(unmaps).toEqual([1, 1, 1, 1]);
    expect([mapping.revoked, copy.revoked]).toEqual([true, true]);
  });

  it("iommufd R15, R32: the un-revoke restores nothing; unmap and map again does", async () => {
    const { backend, ioas, exporter, buffer } = setup();
    ioas.attach(fakeDevice("a"));
    const at = iova(0x4000_0000n);
    const mapping = await ioas.mapDmaBuf(buffer, { slice, iova: at, access: "rw" });
    await exporter.move(true);
    await expect(ioas.mapDmaBuf(buffer, { slice, access: "rw" })).rejects.toMatchObject({
      code: "ENODEV",
    });
    await exporter.move(false);
    expect(mapping.revoked).toBe(true);
    expect(backend.space.domains[0]?.mapped.size).toBe(0);
    expect(await mapping.unmap()).toBe(0x4000n);
    const again = await ioas.mapDmaBuf(buffer, { slice, iova: at, access: "rw" });
    expect(again.revoked).toBe(false);
    expect(backend.space.domains[0]?.mapped.get(at)).toBe(0x4000n);
  });

  it("iommufd R16, B28: a revoked area keeps its IOVA, unmaps at full length and touches no domain again", async () => {
    const { backend, ioas, exporter, buffer } = setup();
    ioas.attach(fakeDevice("a"));
    const at = iova(0x4000_0000n);
    await ioas.mapDmaBuf(buffer, { slice, iova: at, access: "rw" });
    await exporter.move(true);
    await exporter.move(false);
    await expect(ioas.mapDmaBuf(buffer, { slice, iova: at, access: "rw" })).rejects.toMatchObject({
      code: "EEXIST",
    });
    expect(await ioas.unmap(at, 0x4000n)).toBe(0x4000n);
    expect(backend.space.unmaps).toBe(1);
  });

  it("iommufd R16: copying a revoked area succeeds and gives another revoked one", async () => {
    const { backend, iommufd, ioas, exporter, buffer } = setup();
    const other = iommufd.allocIoas();
    other.attach(fakeDevice("a"));
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    await exporter.move(true);
    const copy = other.copy(ioas, mapping.iova, 0x1000n, { access: "rw" });
    expect(copy.revoked).toBe(true);
    expect(backend.spaces[1]?.domains[0]?.mapped.size).toBe(0);
    await expect(
      other.mapDmaBuf(buffer, { slice, iova: copy.iova, access: "r" }),
    ).rejects.toMatchObject({ code: "ENODEV" });
    expect(await copy.unmap()).toBe(0x1000n);
  });

  it("iommufd R17, B29: a page table made after the revoke is not filled, and the attach succeeds", async () => {
    const { backend, ioas, exporter, buffer } = setup();
    await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    await exporter.move(true);
    ioas.allocHwpt(fakeDevice("a"));
    ioas.attach(fakeDevice("b"));
    for (const domain of backend.space.domains) expect(domain.mapped.size).toBe(0);
  });

  it("iommufd R18: ending a page table after the revoke unmaps nothing", async () => {
    const { backend, ioas, exporter, buffer } = setup();
    const hwpt = ioas.allocHwpt(fakeDevice("a"));
    await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    await exporter.move(true);
    expect(backend.space.unmaps).toBe(1);
    hwpt.free();
    hwpt.free();
    expect(backend.space.unmaps).toBe(1);
    expect(backend.space.domains).toEqual([]);
  });

  it("iommufd R20, B31: a revoke that waits for the reservation behind a map, and an unmap behind a revoke, both end", async () => {
    const { ioas, exporter, buffer } = setup();
    const holder = await buffer.reservation.lock();
    const mapping = ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    const revoke = exporter.move(true);
    holder.release();
    const mapped = await mapping;
    await revoke;
    expect(mapped.revoked).toBe(true);
    const again = exporter.move(false);
    const [bytes] = await Promise.all([mapped.unmap(), again]);
    expect(bytes).toBe(0x4000n);
    expect(exporter.attachments).toBe(0);
  });

  it("iommufd R21, B25: a revoke during the last unmap finds the import alive and does nothing", async () => {
    const { backend, ioas, exporter, buffer } = setup({ pin: true });
    ioas.attach(fakeDevice("a"));
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    const held = await buffer.reservation.lock();
    const unmapping = mapping.unmap();
    await Promise.resolve();
    expect(exporter.attachments).toBe(1);
    exporter.revoked = true;
    buffer.invalidateMappings(held);
    held.release();
    expect(await unmapping).toBe(0x4000n);
    expect(exporter.attachments).toBe(0);
    expect(backend.space.unmaps).toBe(1);
  });

  it("iommufd R31, R33, R37: the kernel's own sequence over its selftest exporter", async () => {
    const { ioas, exporter, buffer } = setup({ size: 0x4000n });
    const map = (offset: bigint, length: bigint, at?: bigint) =>
      ioas.mapDmaBuf(buffer, {
        slice: { offset, length },
        access: "rw",
        ...(at === undefined ? {} : { iova: iova(at) }),
      });
    await expect(map(0n, 0n)).rejects.toMatchObject({ code: "EINVAL" });
    await expect(map(0x4000n, 0x1000n)).rejects.toMatchObject({ code: "EINVAL" });
    await expect(map(0n, 0x4001n)).rejects.toMatchObject({ code: "EINVAL" });
    const first = await map(0n, 0x4000n);
    await exporter.move(true);
    ioas.allocHwpt(fakeDevice("a"));
    await expect(map(0n, 0x4000n)).rejects.toMatchObject({ code: "ENODEV" });
    await exporter.move(false);
    await map(0n, 0x4000n);
    expect(await ioas.unmap(first.iova, 0x4000n)).toBe(0x4000n);
    expect((await map(0n, 0x4000n, first.iova)).revoked).toBe(false);
  });

  it("iommufd R32: an exporter that notifies on the un-revoke alone ends the mappings it has", async () => {
    const { ioas, exporter, buffer } = setup();
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    await exporter.move(false);
    expect(mapping.revoked).toBe(true);
  });
});

describe("remapOnRestore, beyond Linux", () => {
  it("maps every area again at its IOVA, as often as the exporter comes back", async () => {
    const { backend, iommufd, ioas, exporter, buffer } = setup({}, { remapOnRestore: true });
    const other = iommufd.allocIoas();
    for (const space of [ioas, other]) space.attach(fakeDevice(`a${space.id}`));
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    const copy = other.copy(ioas, mapping.iova, 0x1000n, { access: "r" });
    for (let i = 0; i < 3; i++) {
      await exporter.move(true);
      expect([mapping.revoked, copy.revoked]).toEqual([true, true]);
      await exporter.move(false);
      await iommufd.settled();
      expect([mapping.revoked, copy.revoked]).toEqual([false, false]);
      expect(backend.spaces.map(({ domains }) => domains[0]?.mapped)).toEqual([
        new Map([[mapping.iova, 0x4000n]]),
        new Map([[copy.iova, 0x1000n]]),
      ]);
    }
  });

  it("stays revoked where the exporter was taken back again, and comes back later", async () => {
    const { iommufd, ioas, exporter, buffer } = setup({}, { remapOnRestore: true });
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    await exporter.move(true);
    const both = [exporter.move(false), exporter.move(true)];
    await Promise.all(both);
    await iommufd.settled();
    expect(mapping.revoked).toBe(true);
    await exporter.move(false);
    await iommufd.settled();
    expect(mapping.revoked).toBe(false);
  });

  it("is over once the mapping is unmapped", async () => {
    const { iommufd, ioas, exporter, buffer } = setup({}, { remapOnRestore: true });
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    await exporter.move(true);
    const restoring = exporter.move(false);
    expect(await mapping.unmap()).toBe(0x4000n);
    await restoring;
    await iommufd.settled();
    expect(ioas.areaCount).toBe(0);
    expect(exporter.attachments).toBe(0);
    expect(buffer.references).toBe(1);
  });
});
