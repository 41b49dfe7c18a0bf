import { type DmaBufEvent, type IovaRange, iova, physAddr } from "@peerbar/core";
import {
  AddressSpaceDomain,
  MockIommu,
  type MockIommuOptions,
  PROT_CACHE,
  PROT_MMIO,
} from "@peerbar/iommu-mock";
import { describe, expect, it } from "vitest";
import { type Hwpt, Iommufd } from "../src/index.js";
import { FakeExporter } from "./fixtures/exporter.js";

const MSI: IovaRange = { first: iova(0xfee0_0000n), last: iova(0xfeef_ffffn) };
const BASE = 0x40_0000_0000n;

function setup(options: MockIommuOptions = {}) {
  const events: DmaBufEvent[] = [];
  const iommu = new MockIommu({ ...options, events: { emit: (event) => events.push(event) } });
  const iommufd = new Iommufd(iommu);
  const device = (name: string, reserved: readonly IovaRange[] = []) => {
    const port = iommu.connect({ name, isPci: true, dmaMask: (1n << 64n) - 1n, reserved });
    return { name, pciAddress: name, dmaMask: (1n << 64n) - 1n, dma: port.dma, port };
  };
  const exporter = new FakeExporter({
    size: 0x100_0000n,
    ranges: [{ start: physAddr(BASE), length: 0x100_0000n }],
    pin: true,
  });
  const ioas = iommufd.allocIoas();
  const map = (length: bigint, at?: bigint, offset = 0n) =>
    ioas.mapDmaBuf(exporter.buffer, {
      slice: { offset, length },
      access: "rw",
      ...(at === undefined ? {} : { iova: iova(at) }),
    });
  const unmaps = () => events.filter((event) => event.type === "iommu-unmap");
  return { iommu, iommufd, ioas, exporter, device, map, unmaps, events };
}

function inspect(hwpt: Hwpt, at: bigint) {
  const { domain } = hwpt;
  if (!(domain instanceof AddressSpaceDomain)) throw new Error("not a mock domain");
  return domain.io.inspect(at);
}

describe("over the mock IOMMU", () => {
  it("iommufd R4: one byte of alignment without a domain, the domain's page with one; reserved ranges are holes", () => {
    const { ioas, device } = setup();
    expect(ioas.alignment).toBe(1n);
    ioas.attach(device("a", [MSI]));
    expect(ioas.alignment).toBe(0x1000n);
    expect(ioas.ranges[0]?.last).toBe(0xfedf_ffffn);
    expect(ioas.ranges[1]?.first).toBe(0xfef0_0000n);
  });

  it("iommufd R5: allowed ranges steer the choice, not a fixed IOVA, and never over a reserved one", async () => {
    const { ioas, device, map } = setup();
    ioas.attach(device("a", [MSI]));
    ioas.allow([{ first: iova(0x80_0000n), last: iova(0x8f_ffffn) }]);
    expect((await map(0x1000n)).iova).toBe(0x80_0000n);
    expect((await map(0x1000n, 0x10_0000n)).iova).toBe(0x10_0000n);
    expect(() => {
      ioas.allow([MSI]);
    }).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
    expect((await map(0x1000n)).iova).toBe(0x80_1000n);
  });

  it("iommufd R6, M18: first fit from below, never 0, aligned to the size; ENOSPC where nothing is left", async () => {
    const { ioas, device, map } = setup();
    ioas.attach(device("a"));
    expect((await map(0x10_0000n)).iova).toBe(0x10_0000n);
    expect((await map(0x10_0000n)).iova).toBe(0x20_0000n);
    expect((await map(0x1000n)).iova).toBe(0x1000n);
    ioas.allow([{ first: iova(0x40_0000n), last: iova(0x40_0fffn) }]);
    await expect(map(0x2000n)).rejects.toMatchObject({ code: "ENOSPC" });
  });

  it("iommufd M16, M17, M19: the address space's own checks, with nothing left of the failed call", async () => {
    const { iommu, ioas, exporter, device, map } = setup();
    ioas.attach(device("a", [MSI]));
    await map(0x2000n, 0x10_0000n);
    const before = iommu.usage;
    for (const [code, length, at, offset] of [
      ["EINVAL", 0x800n, 0x20_0000n, 0n],
      ["EINVAL", 0x1000n, 0x20_0800n, 0n],
      ["EOVERFLOW", 0x2000n, (1n << 64n) - 0x1000n, 0n],
      ["EINVAL", 0x1000n, 0xfee0_0000n, 0n],
      ["EEXIST", 0x1000n, 0x10_1000n, 0n],
      ["EINVAL", 0x1000n, 0x20_0000n, 0x800n],
    ] as const) {
      await expect(map(length, at, offset)).rejects.toMatchObject({ code });
    }
    expect(iommu.usage).toEqual(before);
    expect(exporter.attachments).toBe(1);
  });

  it("iommufd R11, R35: the selftest device's 2 KiB pages take slices below a page", async () => {
    const { ioas, device, map } = setup({ format: "iommufd-selftest" });
    const hwpt = ioas.attach(device("mock"));
    expect(ioas.alignment).toBe(2048n);
    expect(ioas.ranges).toEqual([{ first: 0x0100_0000n, last: 0x7fff_ffffn }]);
    const mapping = await map(0x800n, 0x0200_0000n, 0x800n);
    expect(inspect(hwpt, mapping.iova)?.phys).toBe(BASE + 0x800n);
  });

  it("iommufd R10, B59: MMIO without cache in every domain, later ones and copies too", async () => {
    const { iommufd, ioas, device, map } = setup();
    const other = iommufd.allocIoas();
    const first = ioas.attach(device("a"));
    const mapping = await map(0x4000n, 0x10_0000n, 0x3000n);
    const later = ioas.allocHwpt(device("b"));
    const away = other.attach(device("c"));
    other.copy(ioas, iova(0x10_1000n), 0x1000n, { iova: iova(0x70_0000n), access: "rw" });
    const found = [
      inspect(first, 0x10_1000n),
      inspect(later, 0x10_1000n),
      inspect(away, 0x70_0000n),
    ];
    for (const page of found) {
      expect(page?.phys).toBe(BASE + 0x4000n);
      expect((page?.prot ?? 0) & (PROT_MMIO | PROT_CACHE)).toBe(PROT_MMIO);
    }
    expect(mapping.length).toBe(0x4000n);
  });

  it("iommufd R14, R17, R18, section 8: two address spaces, two domains each: four unmaps, zero more afterwards", async () => {
    const { iommufd, ioas, exporter, device, map, unmaps } = setup();
    const other = iommufd.allocIoas();
    const [a, b, c, d] = [device("a"), device("b"), device("c"), device("d")];
    const hwpts = [ioas.allocHwpt(a), ioas.allocHwpt(b), other.allocHwpt(c), other.allocHwpt(d)];
    for (const [i, fn] of [a, b, c, d].entries()) (i < 2 ? ioas : other).attach(fn, hwpts[i]);
    const mapping = await map(0x4000n);
    const copy = other.copy(ioas, mapping.iova, mapping.length, { access: "rw" });
    const out = { pfn: 0 };
    expect(d.port.translate(Number(copy.iova >> 12n), 4, true, out)).toBe(4);
    await exporter.move(true);
    expect(unmaps()).toHaveLength(4);
    expect(new Set(unmaps().map((event) => `${event.space}.${event.domain}`)).size).toBe(4);
    for (const [fn, at] of [
      [a, mapping.iova],
      [b, mapping.iova],
      [c, copy.iova],
      [d, copy.iova],
    ] as const) {
      expect(fn.port.translate(Number(at >> 12n), 4, false, out)).toBe(0);
    }
    const late = ioas.attach(device("e"));
    expect(inspect(late, mapping.iova)).toBeUndefined();
    other.detach(c);
    hwpts[2]?.free();
    expect(await mapping.unmap()).toBe(0x4000n);
    expect(await copy.unmap()).toBe(0x4000n);
    expect(unmaps()).toHaveLength(4);
  });

  it("iommufd R27, R28: a device whose reserved regions or pages an area is in the way of is EADDRINUSE, and stays out", async () => {
    const { iommu, ioas, device, map } = setup();
    await map(0x1000n, 0xfee0_0000n);
    await expect(map(0x800n, 0x20_0800n)).resolves.toMatchObject({ length: 0x800n });
    const before = iommu.usage;
    expect(() => ioas.attach(device("a", [MSI]))).toThrow(
      expect.objectContaining({ code: "EADDRINUSE" }),
    );
    expect(() => ioas.attach(device("b"))).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
    expect(iommu.usage).toEqual(before);
    expect([...ioas.hwpts]).toEqual([]);
  });

  it("iommufd R38, M20: whichever allocation fails, the call fails with ENOMEM and leaves nothing", async () => {
    const { iommu, iommufd, ioas, exporter, device, map } = setup();
    const other = iommufd.allocIoas();
    ioas.attach(device("a"));
    other.attach(device("b"));
    other.allocHwpt(device("c"));
    const run = async (): Promise<void> => {
      const mapping = await map(0x30_0000n, 0x1000n, 0x1000n);
      try {
        await other.copy(ioas, mapping.iova, 0x2000n, { access: "rw" }).unmap();
      } finally {
        await mapping.unmap();
      }
    };
    await run();
    const before = iommu.usage;
    iommu.injection.arm(0);
    await run();
    const sites = iommu.injection.calls;
    expect(sites).toBeGreaterThan(5);
    for (let nth = 1; nth <= sites; nth++) {
      iommu.injection.arm(nth);
      await expect(run()).rejects.toMatchObject({ code: "ENOMEM" });
      expect(iommu.usage).toEqual(before);
      expect([ioas.areaCount, other.areaCount, exporter.attachments]).toEqual([0, 0, 0]);
      expect(exporter.buffer.references).toBe(1);
    }
    iommu.injection.disarm();
    await run();
  });

  it("iommufd R24: a copy that widens is EPERM before M19 and M20, and after M16 to M18", async () => {
    const { iommu, iommufd, ioas, exporter, device } = setup();
    const target = iommufd.allocIoas();
    target.attach(device("a"));
    const readOnly = { slice: { offset: 0x200n, length: 0x1000n }, access: "r" } as const;
    await ioas.mapDmaBuf(exporter.buffer, { ...readOnly, iova: iova(0x1_0200n) });
    const widen = (at?: bigint) => () =>
      target.copy(ioas, iova(0x1_0200n), 0x1000n, {
        ...(at === undefined ? {} : { iova: iova(at) }),
        access: "rw",
      });
    // M17: the place is no multiple of the alignment. M19: the memory begins inside a page.
    expect(widen(0x2_0200n)).toThrow(expect.objectContaining({ code: "EINVAL" }));
    expect(widen(0x2_0000n)).toThrow(expect.objectContaining({ code: "EPERM" }));
    iommu.injection.arm(1, "map");
    expect(widen(0x2_0000n)).toThrow(expect.objectContaining({ code: "EPERM" }));
    expect(target.areaCount).toBe(0);
  });

  it("iommufd R14: what is told before the memory was asked for is no revoke", async () => {
    const { iommu, ioas, exporter, device, map } = setup();
    const { port } = device("a");
    ioas.attach({ name: "a", pciAddress: "a", dmaMask: port.client.dmaMask, dma: port.dma });
    await exporter.move(true);
    const other = await exporter.buffer.reservation.lock();
    const restoring = exporter.move(false);
    const mapping = map(0x1000n);
    other.release();
    await restoring;
    const { revoked, iova: at } = await mapping;
    expect(revoked).toBe(false);
    expect(port.translate(Number(at) / 4096, 1, true, { pfn: 0 })).toBe(1);
    expect(iommu.usage.mappedGranules).toBe(1);
  });
});
