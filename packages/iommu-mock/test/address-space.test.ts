import { dispose, type IommuMapping, type Iova, iova } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import {
  type MockAddressSpace,
  PROT_CACHE,
  PROT_MMIO,
  PROT_READ,
  PROT_WRITE,
} from "../src/index.js";
import {
  BAR,
  client,
  codeOf,
  deviceOf,
  errorOf,
  hex,
  MSI,
  range,
  reach,
  setup,
} from "./fixtures.js";

const PAGE = 4096n;
const MIB2 = 0x20_0000n;
const ULONG_MAX = (1n << 64n) - 1n;
const OTHER = "0000:1a:00.0";

function open(...args: Parameters<typeof setup>) {
  const one = setup(...args);
  return { ...one, space: one.iommu.allocAddressSpace() };
}

interface Request {
  readonly iova?: bigint;
  readonly length?: bigint;
  readonly offset?: bigint;
  readonly start?: bigint;
  readonly access?: "r" | "w" | "rw";
}

function map(space: MockAddressSpace, request: Request = {}): IommuMapping {
  const { offset = 0n, length = PAGE, start = BAR, access = "rw" } = request;
  const at = request.iova === undefined ? {} : { iova: iova(request.iova) };
  return space.map("phys", [range(start, offset + length)], {
    slice: { offset, length },
    access,
    ...at,
  });
}

function prot(space: MockAddressSpace, domain: number, at: Iova): number | undefined {
  return space.domains[domain]?.io.inspect(at)?.prot;
}

describe("attached devices", () => {
  it("are translated by the address space, and by their default domain after detach", () => {
    const one = open();
    const dma = one.port.dma.mapPhys(range(BAR, PAGE), "bidirectional");
    one.space.attach(one.device);
    const mapping = map(one.space, { start: BAR + MIB2 });
    expect(one.port.domainKind).toBe("unmanaged");
    expect(reach(one, mapping.iova)).toBe(hex(BAR + MIB2));
    expect(reach(one, dma)).toBe("not-present");
    one.space.detach(one.device);
    expect(reach(one, dma)).toBe(hex(BAR));
    expect(reach(one, mapping.iova)).toBe("not-present");
    expect(one.space.domains).toEqual([]);
    one.space.detach(one.device);
  });

  it("share one automatic domain where the first fits, a fresh one where it does not (iommufd R26)", () => {
    const one = open({ devices: { [OTHER]: { format: "amd-v1" } } });
    const third = one.iommu.connect(client({ name: "0000:1b:00.0" }));
    const first = one.space.attach(one.device);
    expect(one.space.attach(one.device)).toBe(first);
    expect(one.space.attach(deviceOf(third))).toBe(first);
    const other = one.iommu.connect(client({ name: OTHER }));
    expect(one.space.attach(deviceOf(other))).not.toBe(first);
    expect(one.space.domains.map(({ devices }) => devices.length)).toEqual([2, 1]);
  });

  it("move from one address space to another", () => {
    const one = open();
    const next = one.iommu.allocAddressSpace();
    one.space.attach(one.device);
    next.attach(one.device);
    expect([one.space.domains.length, next.domains.length]).toEqual([0, 1]);
    expect(one.space.ranges).toEqual([{ first: 0n, last: ULONG_MAX }]);
  });

  it("must be behind this IOMMU: ENODEV", () => {
    const { space, device } = open({ mode: "off" });
    expect(codeOf(() => space.attach(device))).toBe("ENODEV");
    expect(
      codeOf(() => space.allocDomain({ name: "nobody", pciAddress: undefined, dmaMask: 0n })),
    ).toBe("ENODEV");
  });

  it("bring their reserved regions, but not relaxable ones nor bridge windows (iommufd R28)", () => {
    const { space, device } = open(
      {},
      {
        reserved: [
          MSI,
          { first: iova(0x1000_0000n), last: iova(0x1000_ffffn), kind: "direct-relaxable" },
        ],
        bridgeWindows: [{ first: iova(0x8000_0000n), last: iova(0x8fff_ffffn) }],
      },
    );
    space.attach(device);
    expect(space.ranges).toEqual([
      { first: 0n, last: 0xfedf_ffffn },
      { first: 0xfef0_0000n, last: (1n << 48n) - 1n },
    ]);
    space.detach(device);
    expect(space.ranges).toEqual([{ first: 0n, last: ULONG_MAX }]);
  });

  it("take a domain that is named only where their IOMMU unit can walk it: EINVAL (iommufd R26)", () => {
    const one = open({ devices: { [OTHER]: { format: "arm-64-4k" } } });
    const reserved = [MSI];
    const other = deviceOf(one.iommu.connect(client({ name: OTHER, reserved })));
    const domain = one.space.allocDomain(one.device);
    const before = one.space.ranges;
    expect(errorOf(() => one.space.attach(other, domain))).toMatchObject({
      code: "EINVAL",
      rule: "iommufd R26",
    });
    expect([domain.devices, one.space.ranges]).toEqual([[], before]);
    // A move within the address space is no other case: the device stays in its own domain.
    const own = one.space.attach(other);
    expect(codeOf(() => one.space.attach(other, domain))).toBe("EINVAL");
    expect([own.devices, domain.devices]).toEqual([[OTHER], []]);
    expect(one.space.attach(one.device, domain)).toBe(domain);
  });

  it("are refused where an area or an allowed range is in the way: EADDRINUSE (iommufd R5, R27, R28)", () => {
    const { space, device, port } = open({}, { reserved: [MSI] });
    const blocking = map(space, { iova: 0xfee0_0000n });
    expect(errorOf(() => space.attach(device))).toMatchObject({
      code: "EADDRINUSE",
      rule: "iommufd R28",
    });
    space.unmap(blocking.iova, PAGE);
    const far = map(space, { iova: 1n << 50n });
    expect(errorOf(() => space.attach(device))).toMatchObject({
      code: "EADDRINUSE",
      rule: "iommufd R27",
    });
    expect(space.ranges).toEqual([{ first: 0n, last: ULONG_MAX }]);
    space.unmap(far.iova, PAGE);
    space.allow([{ first: iova(0xfee0_0000n), last: iova(0xfee0_ffffn) }]);
    expect(errorOf(() => space.attach(device))).toMatchObject({
      code: "EADDRINUSE",
      rule: "iommufd R5",
    });
    expect(port.attachment).toBeUndefined();
    space.allow([]);
    space.attach(device);
  });
});

describe("ranges and alignment", () => {
  it("without a domain everything is usable and the alignment is 1 (iommufd R4)", () => {
    const { space, device } = open();
    expect([space.ranges, space.alignment]).toEqual([[{ first: 0n, last: ULONG_MAX }], 1n]);
    space.attach(device);
    expect(space.alignment).toBe(4096n);
  });

  it("are those of iommufd's selftest device with its format (iommufd R35)", () => {
    const { space, device } = open({ format: "iommufd-selftest" });
    space.attach(device);
    expect([space.ranges, space.alignment]).toEqual([
      [{ first: 0x100_0000n, last: 0x7fff_ffffn }],
      2048n,
    ]);
  });

  it("a sub-page start is fine where the domain can express it (iommufd R11, M19)", () => {
    const half = open({ format: "iommufd-selftest" });
    half.space.attach(half.device);
    const mapping = map(half.space, { offset: 2048n, length: 2048n });
    expect(half.space.domains[0]?.io.inspect(mapping.iova)?.phys).toBe(BAR + 2048n);
    const whole = open();
    whole.space.attach(whole.device);
    expect(codeOf(() => map(whole.space, { offset: 2048n, length: PAGE, iova: 0x10_0000n }))).toBe(
      "EINVAL",
    );
    const none = open();
    map(none.space, { offset: 1n, length: 3n, iova: 0x11n });
    expect(errorOf(() => none.space.attach(none.device)).rule).toBe("iommufd R27");
  });
});

describe("a chosen IOVA", () => {
  it("is the lowest that fits, never 0, aligned by length and offset up to 2 MiB (iommufd R6)", () => {
    const { space, device } = open();
    space.attach(device);
    expect(map(space).iova).toBe(0x1000n);
    expect(map(space, { length: 2n * PAGE }).iova).toBe(0x2000n);
    expect(map(space, { length: 3n * PAGE }).iova).toBe(0x4000n);
    expect(map(space).iova).toBe(0x7000n);
    expect(map(space, { length: 8n * MIB2 }).iova).toBe(MIB2);
    // An offset of one page leaves no larger alignment.
    expect(map(space, { length: 4n * PAGE, offset: PAGE }).iova).toBe(0x8000n);
    space.unmap(iova(0x1000n), PAGE);
    expect(map(space).iova).toBe(0x1000n);
  });

  it("keeps the offset in the page of memory that begins inside of one (iommufd R6)", () => {
    const { space } = open();
    const part = (offset: bigint, length: bigint) => map(space, { offset, length }).iova;
    expect(part(0x800n, 0x1000n)).toBe(0x1800n);
    expect(part(0x100n, 0x100n)).toBe(0x1100n);
    // The first hole that the aligned address with these bits in it fits in, not the next byte.
    expect(part(0x100n, 0x100n)).toBe(0x1300n);
    expect(part(0x1800n, 0x800n)).toBe(0x2800n);
    expect(part(0x2000n, 0x1000n)).toBe(0x3000n);
    // Bits of the address that are set already stay: 0x1c00, from 0x1400 on, is taken, and after 0x4400 comes 0x4c00, not 0x4800.
    map(space, { iova: 0x4000n, length: 0x400n });
    expect(part(0x800n, 0x400n)).toBe(0x4c00n);
  });

  it("stays inside of the allowed ranges; a fixed one does not care (iommufd R5)", () => {
    const { space } = open();
    space.allow([{ first: iova(0x10_0000n), last: iova(0x10_1fffn) }]);
    expect([map(space).iova, map(space).iova]).toEqual([0x10_0000n, 0x10_1000n]);
    expect(codeOf(() => map(space))).toBe("ENOSPC");
    expect(map(space, { iova: 0x5000n }).iova).toBe(0x5000n);
  });

  it("allow refuses reserved, inverted and overlapping ranges, and keeps the old set (iommufd R5)", () => {
    const { space, device } = open({}, { reserved: [MSI] });
    space.attach(device);
    space.allow([{ first: iova(0x10_0000n), last: iova(0x10_0fffn) }]);
    const at = (first: bigint, last: bigint) => ({ first: iova(first), last: iova(last) });
    expect(
      codeOf(() => {
        space.allow([at(0xfee0_0000n, 0xfee0_0fffn)]);
      }),
    ).toBe("EADDRINUSE");
    expect(
      codeOf(() => {
        space.allow([at(0x2000n, 0x1000n)]);
      }),
    ).toBe("EINVAL");
    expect(
      codeOf(() => {
        space.allow([at(0x1000n, 0x2fffn), at(0x2000n, 0x3fffn)]);
      }),
    ).toBe("EINVAL");
    // The list is loaded whole before the reserved ranges are looked at.
    expect(
      codeOf(() => {
        space.allow([
          at(0xfee0_0000n, 0xfee0_0fffn),
          at(1n << 32n, (1n << 32n) + 0x1fffn),
          at((1n << 32n) + 0x1000n, (1n << 32n) + 0x2fffn),
        ]);
      }),
    ).toBe("EINVAL");
    expect(map(space).iova).toBe(0x10_0000n);
  });

  it("is refused where the alignment of the memory is below that of the domains, or it is too long (iommufd R6, M18)", () => {
    const { space, device } = open();
    space.attach(device);
    expect(codeOf(() => map(space, { offset: 2048n }))).toBe("EINVAL");
    const endless = { start: BAR, length: 1n << 63n };
    expect(codeOf(() => map(space, endless))).toBe("EOVERFLOW");
  });
});

describe("a fixed IOVA", () => {
  it("is checked in this order (iommufd M16, M17)", () => {
    const { space, device } = open({}, { reserved: [MSI] });
    space.attach(device);
    map(space, { iova: 0x10_0000n, length: 4n * PAGE });
    const cases: [Request, string][] = [
      [{ iova: 0x1000n, length: 100n }, "EINVAL"],
      [{ iova: 0x1000n, length: 0n }, "EINVAL"],
      [{ iova: 0x1001n }, "EINVAL"],
      [{ iova: (1n << 64n) - PAGE, length: 2n * PAGE }, "EOVERFLOW"],
      [{ iova: ULONG_MAX }, "EOVERFLOW"],
      [{ iova: 0xfee0_0000n }, "EINVAL"],
      [{ iova: 1n << 48n }, "EINVAL"],
      [{ iova: 0x10_3000n }, "EEXIST"],
      [{ iova: 0xf_f000n, length: 2n * PAGE }, "EEXIST"],
    ];
    const before = space.areas.length;
    for (const [request, code] of cases)
      expect([request, codeOf(() => map(space, request))]).toEqual([request, code]);
    expect(space.areas.length).toBe(before);
    expect(map(space, { iova: 0x10_4000n }).iova).toBe(0x10_4000n);
  });

  it("whose end a double would round off is refused, and leaves nothing (iommufd M17)", () => {
    const { iommu, space } = open();
    for (const [at, length] of [
      [1n << 53n, 1n],
      [(1n << 53n) - 1n, 2n],
    ] as const) {
      expect(codeOf(() => map(space, { iova: at, length }))).toBe("EINVAL");
    }
    expect(iommu.usage.areas).toBe(0);
    expect(map(space, { iova: (1n << 53n) - 1n, length: 1n }).iova).toBe((1n << 53n) - 1n);
  });

  it("that wraps is EOVERFLOW wherever it is aligned, also inside of a page (iommufd M17)", () => {
    const { space, device } = open();
    const at = (1n << 64n) - 0x800n;
    expect(codeOf(() => map(space, { iova: at }))).toBe("EOVERFLOW");
    space.attach(device);
    expect(codeOf(() => map(space, { iova: at }))).toBe("EINVAL");
  });

  it("may be the last page of the space (iommufd M17, R6, R23)", () => {
    const one = open({ format: "amd-v1" });
    one.space.attach(one.device);
    const last = (1n << 64n) - PAGE;
    map(one.space, { iova: 0x1_0000n });
    map(one.space, { iova: last, start: BAR + PAGE });
    expect(reach(one, last)).toBe(hex(BAR + PAGE));
    expect(one.space.unmap(iova(last), PAGE)).toBe(PAGE);
    expect(reach(one, last)).toBe("not-present");
    expect(one.space.areas.map((area) => area.iova)).toEqual([0x1_0000n]);
    map(one.space, { iova: last });
    expect(codeOf(() => map(one.space, { iova: last }))).toBe("EEXIST");
    one.space.copy(one.space, iova(last), PAGE, { access: "r" });
    expect(one.iommu.usage).toMatchObject({ areas: 3, mappedGranules: 3 });
    one.space.detach(one.device);
    one.space.attach(one.device);
    expect(reach(one, last)).toBe(hex(BAR));
    expect(one.space.unmapAll()).toBe(3n * PAGE);
    expect(one.iommu.usage).toMatchObject({ areas: 0, mappedGranules: 0 });
  });

  it("above 2^53 holds whole pages only: EINVAL, and nothing stays (iommufd M17)", () => {
    const { space } = open();
    const high = 1n << 63n;
    expect(codeOf(() => map(space, { iova: high, length: 0x200n }))).toBe("EINVAL");
    expect(codeOf(() => map(space, { iova: high + 0x200n }))).toBe("EINVAL");
    expect(space.areas).toEqual([]);
    map(space, { iova: 0x1000n, length: 0x200n });
    map(space, { iova: 0x1200n, length: 0xe00n });
    // A whole page in parts: the places between are not.
    expect(
      codeOf(() => space.copy(space, iova(0x1000n), PAGE, { iova: iova(high), access: "r" })),
    ).toBe("EINVAL");
    space.allow([{ first: iova(high), last: iova(ULONG_MAX) }]);
    expect(codeOf(() => map(space, { length: 0x200n }))).toBe("EINVAL");
    expect(codeOf(() => map(space, { offset: 0x200n }))).toBe("EINVAL");
    expect(space.areas).toHaveLength(2);
    expect(map(space).iova).toBe(high);
    expect(codeOf(() => space.copy(space, iova(high), 0x200n, { access: "r" }))).toBe("EINVAL");
  });

  it("a map that one domain refuses leaves nothing in the others (iommufd M20)", () => {
    const one = open({ devices: { [OTHER]: { format: "arm-64-4k" } } });
    const other = one.iommu.connect(client({ name: OTHER }));
    one.space.attach(one.device);
    one.space.attach(deviceOf(other));
    const before = one.iommu.usage;
    // Physical addresses of 50 bits fit x86, not this Arm.
    expect(codeOf(() => map(one.space, { start: 1n << 50n }))).toBe("ERANGE");
    expect(one.iommu.usage).toEqual(before);
  });

  it("only the interconnect it accepts, some permission, and memory that is there", () => {
    const { space } = open();
    expect(
      codeOf(() => space.map("fd", 3, { slice: { offset: 0n, length: PAGE }, access: "r" })),
    ).toBe("EOPNOTSUPP");
    expect(codeOf(() => map(space, { access: "" as "r" }))).toBe("EINVAL");
    expect(
      codeOf(() =>
        space.map("phys", [range(BAR, PAGE)], {
          slice: { offset: PAGE, length: PAGE },
          access: "r",
        }),
      ),
    ).toBe("EINVAL");
  });
});

describe("permissions and attributes", () => {
  it.each([
    ["r", PROT_READ],
    ["w", PROT_WRITE],
    ["rw", PROT_READ | PROT_WRITE],
  ] as const)("%s, and MMIO without cache (iommufd R8, R10)", (access, bits) => {
    const one = open();
    one.space.attach(one.device);
    const mapping = map(one.space, { access });
    expect(prot(one.space, 0, mapping.iova)).toBe(bits | PROT_MMIO);
    expect(reach(one, mapping.iova, true)).toBe(access === "r" ? "permission" : hex(BAR));
  });

  it("are the same in a later domain and in a copy; Linux 7.2 loses MMIO there (iommufd R10, known-bugs B59)", () => {
    for (const [options, late] of [
      [{}, PROT_MMIO],
      [{ quirks: "linux-7.2" }, PROT_CACHE],
    ] as const) {
      const { space, device } = open(options);
      space.attach(device);
      const mapping = map(space);
      space.allocDomain(device);
      const copied = space.copy(space, mapping.iova, PAGE, { access: "rw" });
      const both = PROT_READ | PROT_WRITE;
      expect([0, 1].map((i) => prot(space, i, mapping.iova))).toEqual([
        both | PROT_MMIO,
        both | late,
      ]);
      expect(prot(space, 0, copied.iova)).toBe(both | late);
    }
  });

  it("a first domain that comes after the map is right even in Linux 7.2 (known-bugs B59)", () => {
    const { space, device } = open({ quirks: "linux-7.2" });
    const mapping = map(space);
    space.attach(device);
    expect(prot(space, 0, mapping.iova)).toBe(PROT_READ | PROT_WRITE | PROT_MMIO);
  });
});

describe("revoke", () => {
  it("takes the memory out of every domain of every copy, each once, and keeps the IOVA (iommufd R14, R16, section 8)", () => {
    const one = open();
    const second = one.iommu.allocAddressSpace();
    const other = deviceOf(one.iommu.connect(client({ name: OTHER })));
    one.space.attach(one.device);
    one.space.allocDomain(one.device);
    second.attach(other);
    second.allocDomain(other);
    const mapping = map(one.space);
    const copied = second.copy(one.space, mapping.iova, PAGE, { access: "rw" });
    const { unmaps } = one.iommu.stats;
    mapping.revoke();
    mapping.revoke();
    copied.revoke();
    expect(one.iommu.stats.unmaps - unmaps).toBe(4);
    expect([mapping.revoked, copied.revoked]).toEqual([true, true]);
    expect(reach(one, mapping.iova)).toBe("not-present");
    expect(codeOf(() => map(one.space, { iova: mapping.iova }))).toBe("EEXIST");
    expect(one.space.unmap(mapping.iova, PAGE)).toBe(PAGE);
    expect(one.iommu.stats.unmaps - unmaps).toBe(4);
  });

  it("leaves later domains unfilled, and attach works (iommufd R17)", () => {
    const one = open();
    const mapping = map(one.space);
    const kept = map(one.space, { start: BAR + PAGE });
    mapping.revoke();
    one.space.attach(one.device);
    expect(reach(one, mapping.iova)).toBe("not-present");
    expect(reach(one, kept.iova)).toBe(hex(BAR + PAGE));
  });

  it("a domain that ends afterwards is not unmapped again (iommufd R18, known-bugs B28)", () => {
    const { space, device, iommu } = open();
    const domain = space.allocDomain(device);
    map(space).revoke();
    const { unmaps } = iommu.stats;
    space.freeDomain(domain);
    expect(iommu.stats.unmaps).toBe(unmaps);
  });

  it("a copy of a revoked area succeeds and maps nothing (iommufd R16)", () => {
    const one = open();
    one.space.attach(one.device);
    const mapping = map(one.space);
    mapping.revoke();
    const copied = one.space.copy(one.space, mapping.iova, PAGE, { access: "r" });
    expect(copied.revoked).toBe(true);
    expect(reach(one, copied.iova, false)).toBe("not-present");
  });
});

describe("copy", () => {
  it("asks area by area whether it may be written, then whether its start can be expressed (iommufd R24, M19)", () => {
    const { iommu, space, device } = open();
    const source = iommu.allocAddressSpace();
    space.attach(device);
    const copy = (at: bigint) => () =>
      space.copy(source, iova(at), 2n * PAGE, { iova: iova(0x10_0000n), access: "rw" });
    map(source, { iova: 0x1_0000n, offset: 0x800n });
    map(source, { iova: 0x1_1000n, access: "r" });
    expect(codeOf(copy(0x1_0000n))).toBe("EINVAL");
    map(source, { iova: 0x2_0000n, offset: 0x800n, access: "r" });
    map(source, { iova: 0x2_1000n });
    expect(codeOf(copy(0x2_0000n))).toBe("EPERM");
    expect(space.areas).toEqual([]);
  });

  it("needs a source without holes, and does not widen to write (iommufd R24)", () => {
    const { space } = open();
    map(space, { iova: 0x10_0000n, access: "r" });
    map(space, { iova: 0x10_1000n, start: BAR + MIB2 });
    const copy = (at: bigint, length: bigint, access: "r" | "rw") =>
      space.copy(space, iova(at), length, { access });
    expect(codeOf(() => copy(0x10_0000n, PAGE, "rw"))).toBe("EPERM");
    expect(codeOf(() => copy(0x10_1000n, 2n * PAGE, "r"))).toBe("ENOENT");
    expect(codeOf(() => copy(0x10_0000n, ULONG_MAX, "r"))).toBe("EOVERFLOW");
    expect(codeOf(() => copy(0x10_0000n, 0n, "r"))).toBe("EINVAL");
    const both = copy(0x10_0000n, 2n * PAGE, "r");
    expect([both.length, space.areas.length]).toEqual([2n * PAGE, 4]);
  });

  it("of a part takes the right memory", () => {
    const one = open();
    one.space.attach(one.device);
    const mapping = map(one.space, { length: 8n * PAGE });
    const copied = one.space.copy(one.space, iova(mapping.iova + 3n * PAGE), 2n * PAGE, {
      access: "rw",
    });
    expect(reach(one, copied.iova + PAGE)).toBe(hex(BAR + 4n * PAGE));
  });
});

describe("unmap", () => {
  it("follows the kernel's order of errors (iommufd R23)", () => {
    const { space } = open();
    map(space, { iova: 0x1_0000n, length: 2n * PAGE });
    map(space, { iova: 0x2_0000n, length: 4n * PAGE });
    const unmap = (at: bigint, length: bigint) => space.unmap(iova(at), length);
    expect(codeOf(() => unmap(0x1_0000n, ULONG_MAX))).toBe("EOVERFLOW");
    expect(codeOf(() => unmap(ULONG_MAX, 1n))).toBe("EOVERFLOW");
    expect(codeOf(() => unmap(0x1_0000n, 0n))).toBe("EINVAL");
    expect(codeOf(() => unmap(0x1_0000n, PAGE))).toBe("ENOENT");
    expect(codeOf(() => unmap(0x1_1000n, PAGE))).toBe("ENOENT");
    expect(codeOf(() => unmap(0x5000n, PAGE))).toBe("ENOENT");
    expect(space.areas).toHaveLength(2);
    // The first lies whole in front of the cut one, and goes.
    expect(codeOf(() => unmap(0x1_0000n, 0x1_1000n))).toBe("ENOENT");
    expect(space.areas.map((area) => area.iova)).toEqual([0x2_0000n]);
    map(space, { iova: 0x1_0000n });
    expect(unmap(0x1_0000n, 0x1_4000n)).toBe(5n * PAGE);
    expect(unmap(0n, ULONG_MAX)).toBe(0n);
  });

  it("knows the bytes of a page above 2^53 too (iommufd R23)", () => {
    const { space } = open();
    const at = 1n << 63n;
    map(space, { iova: at });
    map(space, { iova: at + PAGE });
    for (const [first, length] of [
      [at, 0x200n],
      [at + 0x200n, PAGE],
      [at + 0x1e00n, 0x200n],
      [at + 0x2000n, 0x200n],
    ] as const) {
      expect(codeOf(() => space.unmap(iova(first), length))).toBe("ENOENT");
    }
    expect(space.areas).toHaveLength(2);
    expect(space.unmap(iova(at - 0x200n), 0x1200n)).toBe(PAGE);
    expect(space.unmap(iova(at + PAGE), 0x1200n)).toBe(PAGE);
  });

  it("everything is one call (iommufd R23)", () => {
    const { space, iommu, device } = open();
    space.attach(device);
    for (let i = 0; i < 100; i++) map(space);
    expect(space.unmap(iova(0n), ULONG_MAX)).toBe(100n * PAGE);
    expect(iommu.usage).toMatchObject({ areas: 0, mappedGranules: 0 });
  });
});

describe("the end", () => {
  it("freeDomain: EBUSY with devices, ENOENT for a stranger", () => {
    const { space, device, iommu } = open();
    const domain = space.allocDomain(device);
    space.attach(device, domain);
    expect(
      codeOf(() => {
        space.freeDomain(domain);
      }),
    ).toBe("EBUSY");
    expect(
      codeOf(() => {
        iommu.allocAddressSpace().freeDomain(domain);
      }),
    ).toBe("ENOENT");
    space.detach(device);
    space.freeDomain(domain);
    expect(space.domains).toEqual([]);
  });

  it("disposing gives everything back; a second time does nothing, use is EBADF", () => {
    const one = open();
    one.port.dma.mapPhys(range(BAR, PAGE), "bidirectional");
    const before = one.iommu.usage;
    one.space.attach(one.device);
    map(one.space, { length: 600n * PAGE });
    one.space[dispose]();
    one.space[dispose]();
    expect(one.iommu.usage).toEqual(before);
    expect(one.port.attachment).toBeUndefined();
    expect(codeOf(() => map(one.space))).toBe("EBADF");
  });

  it("a device that is unplugged leaves its address space and its mappings", () => {
    const one = open();
    one.space.attach(one.device);
    one.port.dma.mapPhys(range(BAR, PAGE), "bidirectional");
    one.iommu.disconnect(one.port.name);
    expect(one.iommu.usage).toEqual({
      tablePages: 0,
      mappedGranules: 0,
      iovas: 0,
      areas: 0,
      domains: 0,
    });
    expect(codeOf(() => one.space.attach(one.device))).toBe("ENODEV");
    one.iommu.connect(client());
  });
});

describe("restore, beyond Linux", () => {
  const memory = [range(BAR, MIB2)];

  it("fills every domain again, copies and domains made meanwhile included", () => {
    const one = open();
    const { iommu, space } = one;
    const second = { ...one, port: iommu.connect(client({ name: OTHER })) };
    const copies = iommu.allocAddressSpace();
    space.attach(one.device);
    const mapping = map(space, { iova: 0x10_0000n, length: MIB2 });
    const copy = copies.copy(space, iova(0x10_1000n), PAGE, { access: "r" });
    mapping.revoke();
    copies.attach(deviceOf(second.port));
    expect([reach(one, 0x10_0000n), reach(second, copy.iova, false)]).not.toContain(hex(BAR));
    mapping.restore?.("phys", memory);
    mapping.restore?.("phys", memory);
    expect([mapping.revoked, copy.revoked]).toEqual([false, false]);
    expect(reach(one, 0x10_0000n)).toBe(hex(BAR));
    expect(reach(second, copy.iova, false)).toBe(hex(BAR + PAGE));
    mapping.revoke();
    expect(reach(one, 0x10_0000n)).not.toBe(hex(BAR));
    space[dispose]();
    copies[dispose]();
  });

  it("iommufd R16: one that fails leaves all of it revoked and every IOVA occupied", () => {
    const one = open();
    const { iommu, space } = one;
    const copies = iommu.allocAddressSpace();
    const second = { ...one, port: iommu.connect(client({ name: OTHER })) };
    space.attach(one.device);
    copies.attach(deviceOf(second.port));
    const mapping = map(space, { iova: 0x10_0000n });
    const copy = copies.copy(space, mapping.iova, PAGE, { access: "rw" });
    mapping.revoke();
    for (const nth of [1, 2]) {
      iommu.injection.arm(nth, "map");
      expect(codeOf(() => mapping.restore?.("phys", memory.slice(0, 1)))).toBe("EINVAL");
      expect(codeOf(() => mapping.restore?.("phys", [range(BAR, PAGE)]))).toBe("ENOMEM");
      iommu.injection.disarm();
      expect([mapping.revoked, copy.revoked]).toEqual([true, true]);
      expect([reach(one, 0x10_0000n), reach(second, copy.iova)]).not.toContain(hex(BAR));
      expect(codeOf(() => map(space, { iova: 0x10_0000n }))).toBe("EEXIST");
    }
    expect(codeOf(() => mapping.restore?.("fd", 3))).toBe("EOPNOTSUPP");
    mapping.restore?.("phys", [range(BAR, PAGE)]);
    expect(reach(one, 0x10_0000n)).toBe(hex(BAR));
    expect(space.unmap(mapping.iova, PAGE)).toBe(PAGE);
  });
});
