import { type DmaDirection, iova, mapPhysVec, unmapPhysVec } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { MockIommu, PROT_CACHE, PROT_MMIO, PROT_READ, PROT_WRITE } from "../src/index.js";
import {
  BAR,
  client,
  codeOf,
  errorOf,
  hex,
  MASK64,
  MSI,
  NIC,
  range,
  reach,
  setup,
} from "./fixtures.js";

const PAGE = 4096n;

function linked(size: bigint, ...options: Parameters<typeof setup>) {
  const made = setup(...options);
  const state = made.port.dma.tryAllocIova(size) ?? expect.unreachable("no IOVA");
  return { ...made, dma: made.port.dma, state };
}

describe("which path is taken", () => {
  it.each(["off", "passthrough"] as const)(
    "%s: no IOVA, and the CPU physical address as it is (dma-iova R1, R2)",
    (mode) => {
      const one = setup({ mode });
      expect(one.port.dma.space).toBe("bus");
      expect(one.port.dma.tryAllocIova(PAGE)).toBeUndefined();
      expect(one.port.dma.mapPhys(range(BAR, PAGE), "bidirectional")).toBe(BAR);
      expect(reach(one, BAR)).toBe(hex(BAR));
      one.port.dma.unmapPhys(iova(BAR), PAGE, "bidirectional");
      expect(reach(one, BAR)).toBe(hex(BAR));
    },
  );

  it.each(["dma", "dma-fq"] as const)("%s: an IOVA (dma-iova R1)", (mode) => {
    const one = setup({ mode });
    expect(one.port.dma.tryAllocIova(PAGE)?.address).toBe(0xffff_f000n);
    const address = one.port.dma.mapPhys(range(BAR, PAGE), "bidirectional");
    expect(address).toBe(0xffff_e000n);
    expect(reach(one, address)).toBe(hex(BAR));
  });

  it("a device whose deferred attach fails has neither (dma-iova section 1)", () => {
    const { port } = setup({ devices: { [NIC]: { deferredAttachFails: true } } });
    expect(port.dma.tryAllocIova(PAGE)).toBeUndefined();
    expect(codeOf(() => port.dma.mapPhys(range(BAR, PAGE), "bidirectional"))).toBe("ENOMEM");
  });

  it("direct mapping ends at the DMA mask, warns once, and is ENOMEM (dma-iova R2, R3)", () => {
    const { iommu, port } = setup({ mode: "off" }, { dmaMask: 0xffff_ffffn });
    expect(port.dma.mapPhys(range(0xffff_f000n, PAGE), "to-device")).toBe(0xffff_f000n);
    for (const start of [0xffff_f000n, BAR]) {
      expect(codeOf(() => port.dma.mapPhys(range(start, 2n * PAGE), "to-device"))).toBe("ENOMEM");
    }
    expect(iommu.log.entries).toHaveLength(1);
  });

  it("forced bounce buffers refuse MMIO (dma-iova R2)", () => {
    const { port } = setup({ mode: "passthrough", devices: { [NIC]: { forceBounce: true } } });
    expect(codeOf(() => port.dma.mapPhys(range(BAR, PAGE), "to-device"))).toBe("ENOMEM");
  });

  it("every failure behind an IOMMU is ENOMEM, with its cause (dma-iova R3)", () => {
    const { port, iommu } = setup({ format: "arm-64-4k" });
    const error = errorOf(() => port.dma.mapPhys(range(1n << 50n, PAGE), "to-device"));
    expect(error.code).toBe("ENOMEM");
    expect(error.cause).toMatchObject({ code: "ERANGE" });
    expect(iommu.usage.iovas).toBe(0);
  });

  it("a direction that is none is a broken contract (dma-iova R4)", () => {
    const { port } = setup();
    const bad = "sideways" as DmaDirection;
    expect(errorOf(() => port.dma.mapPhys(range(BAR, PAGE), bad)).rule).toBe("dma-iova R4");
  });

  it.each([
    ["bidirectional", PROT_READ | PROT_WRITE],
    ["to-device", PROT_READ],
    ["from-device", PROT_WRITE],
  ] as const)(
    "%s decides the permissions; MMIO is marked and never cached (dma-iova R6)",
    (direction, prot) => {
      const one = setup();
      const address = one.port.dma.mapPhys(range(BAR, PAGE), direction);
      const found = one.port.domain?.inspect(address);
      expect(found).toEqual({ phys: BAR, prot: prot | PROT_MMIO });
      expect((found?.prot ?? PROT_CACHE) & PROT_CACHE).toBe(0);
      expect(reach(one, address, true)).toBe((prot & PROT_WRITE) === 0 ? "permission" : hex(BAR));
      expect(reach(one, address, false)).toBe((prot & PROT_READ) === 0 ? "permission" : hex(BAR));
    },
  );
});

describe("tryAllocIova", () => {
  it("gives nothing for size 0 or bit 63, and warns once for each (dma-iova R1)", () => {
    const { port, iommu } = setup();
    for (const size of [0n, 0n, 1n << 63n, (1n << 63n) | PAGE])
      expect(port.dma.tryAllocIova(size)).toBeUndefined();
    expect(iommu.log.entries.map(({ site }) => site)).toEqual([
      "dma_iova_try_alloc: size 0",
      "dma_iova_try_alloc: bit 63",
    ]);
  });

  it("keeps the offset of the first range in its granule (dma-iova R10)", () => {
    const { port } = setup();
    const state = port.dma.tryAllocIova(PAGE, BAR + 0x123n);
    // One page and 0x123 bytes need two granules.
    expect(state?.address).toBe(0xffff_e123n);
  });

  it("tries below 4 GiB first for PCI devices, gives that up for good after one failure, and says so (dma-iova R18)", () => {
    const { port, iommu } = setup();
    const big = 0xf000_0000n;
    // Aligned to 4 GiB, the next power of two: below that there is no room.
    expect(port.dma.tryAllocIova(big)?.address).toBe((1n << 48n) - (1n << 32n));
    expect(iommu.log.entries).toMatchObject([{ level: "notice", site: NIC, rule: "dma-iova R18" }]);
    expect(port.dma.tryAllocIova(PAGE)?.address).toBeGreaterThan(0xffff_ffffn);
  });

  it.each([
    ["forcedac", setup({ forceDac: true }), (1n << 48n) - PAGE],
    ["not PCI", setup({}, { isPci: false }), (1n << 48n) - PAGE],
    ["a mask of 30 bits", setup({}, { dmaMask: (1n << 30n) - 1n }), (1n << 30n) - PAGE],
    [
      "an aperture of 28 bits",
      setup({ aperture: { first: 0n, last: (1n << 28n) - 1n } }),
      (1n << 28n) - PAGE,
    ],
  ])("%s decides the limit (dma-iova R18)", (_, { port }, expected) => {
    expect(port.dma.tryAllocIova(PAGE)?.address).toBe(expected);
  });

  it("keeps off reserved regions and host bridge windows (dma-iova R19)", () => {
    const windows = [
      { first: iova(0x8000_0000n), last: iova(0xfedf_ffffn) },
      { first: iova(0xfef0_0000n), last: iova(0xffff_ffffn) },
    ];
    const { port } = setup({}, { reserved: [MSI], bridgeWindows: windows });
    expect(port.dma.tryAllocIova(PAGE)?.address).toBe(0x7fff_f000n);
  });

  it("maps firmware's direct regions one to one and keeps off them (dma-iova R19)", () => {
    const direct = { first: iova(0xffff_0000n), last: iova(0xffff_ffffn), kind: "direct" as const };
    const one = setup({}, { reserved: [direct] });
    expect(reach(one, 0xffff_1000n)).toBe("0xffff1000");
    expect(one.port.dma.tryAllocIova(PAGE)?.address).toBe(0xfffe_f000n);
  });

  it("maps direct regions that overlap once, as iommu_create_device_direct_mappings does (dma-iova R19)", () => {
    const region = (first: bigint, last: bigint) => ({ first: iova(first), last: iova(last) });
    const one = setup(
      {},
      {
        reserved: [
          { ...region(0x7f00_0000n, 0x7f8f_ffffn), kind: "direct-relaxable" },
          { ...region(0x7b00_0000n, 0x7f7f_ffffn), kind: "direct" },
          { ...region(0x7c00_0000n, 0x7c00_ffffn), kind: "direct" },
        ],
      },
    );
    expect(one.iommu.usage.mappedGranules).toBe(0x4900);
    expect(reach(one, 0x7f7f_f000n)).toBe("0x7f7ff000");
    expect(reach(one, 0x7f8f_f000n)).toBe("0x7f8ff000");
    expect(reach(one, 0x7f90_0000n)).toBe("not-present");
  });

  it("a direct region that cannot be mapped leaves no device and no page table", () => {
    const iommu = new MockIommu();
    const direct = { first: iova(0x1000n), last: iova(0x2fffn), kind: "direct" as const };
    iommu.injection.arm(2, "table");
    expect(codeOf(() => iommu.connect(client({ reserved: [direct] })))).toBe("ENOMEM");
    expect(iommu.usage.tablePages).toBe(0);
    iommu.injection.disarm();
    expect(iommu.connect(client({ reserved: [direct] })).name).toBe(NIC);
  });
});

describe("link", () => {
  it("runs at its offset: several ranges, one span (dma-iova R8, R29)", () => {
    const one = setup();
    const ranges = [range(BAR, 2n * PAGE), range(BAR + 0x10_0000n, PAGE)];
    const table = mapPhysVec(one.device, { kind: "host-bridge" }, ranges, "bidirectional");
    expect([...table]).toEqual([{ address: 0xffff_c000n, length: 3 * 4096 }]);
    expect([0n, 1n, 2n].map((i) => reach(one, 0xffff_c000n + i * PAGE))).toEqual([
      hex(BAR),
      hex(BAR + PAGE),
      hex(BAR + 0x10_0000n),
    ]);
    unmapPhysVec(table);
    expect(one.iommu.usage).toMatchObject({ iovas: 0, mappedGranules: 0 });
  });

  it("over another link behind virtio-iommu is lost, and nobody is told (dma-iova R9, known-bugs B9)", () => {
    const { dma, state, ...one } = linked(4n * PAGE, { unreportedRefusals: true });
    dma.link(state, 0n, range(BAR, PAGE), "bidirectional");
    dma.link(state, 0n, range(BAR + 0x10_0000n, 2n * PAGE), "bidirectional");
    expect(reach(one, state.address)).toBe(hex(BAR));
    expect(reach(one, state.address + PAGE)).toBe("not-present");
  });

  it.each([
    ["x86-64", "EADDRINUSE"],
    ["amd-v1", "EADDRINUSE"],
    ["arm-64-4k", "EEXIST"],
  ] as const)(
    "over another link fails in %s with %s, and nothing of it stays (dma-iova R9)",
    (format, code) => {
      const { dma, state, ...one } = linked(4n * PAGE, { format });
      dma.link(state, 2n * PAGE, range(BAR, PAGE), "bidirectional");
      expect(
        codeOf(() => {
          dma.link(state, 0n, range(BAR, 4n * PAGE), "bidirectional");
        }),
      ).toBe(code);
      expect(reach(one, state.address)).toBe("not-present");
      expect(reach(one, state.address + 2n * PAGE)).toBe(hex(BAR));
    },
  );

  it("rounds out to granules (dma-iova R10)", () => {
    const one = setup();
    const state = one.port.dma.tryAllocIova(0x200n, BAR + 0x100n) ?? expect.unreachable("no IOVA");
    one.port.dma.link(state, 0n, range(BAR + 0x100n, 0x200n), "bidirectional");
    expect(reach(one, state.address)).toBe(hex(BAR + 0x100n));
    expect(reach(one, state.address & ~0xfffn)).toBe(hex(BAR));
    one.port.dma.destroy(state, 0x200n);
    expect(one.iommu.usage.mappedGranules).toBe(0);
  });

  it("of an unaligned range at an offset is EIO, warned once (dma-iova R10)", () => {
    const { dma, state, iommu } = linked(4n * PAGE);
    for (let i = 0; i < 2; i++)
      expect(
        codeOf(() => {
          dma.link(state, PAGE, range(BAR + 1n, PAGE), "to-device");
        }),
      ).toBe("EIO");
    expect(iommu.log.entries).toHaveLength(1);
  });

  it("where IOVA and physical address differ below the granule is EINVAL (dma-iova R10)", () => {
    const { dma, state } = linked(4n * PAGE);
    expect(
      codeOf(() => {
        dma.link(state, 0n, range(BAR + 0x80n, PAGE), "to-device");
      }),
    ).toBe("EINVAL");
  });

  it("of an untrusted device must be whole granules: EPERM (dma-iova section 2)", () => {
    const { port } = setup({ devices: { [NIC]: { untrusted: true } } });
    const state = port.dma.tryAllocIova(PAGE) ?? expect.unreachable("no IOVA");
    expect(
      codeOf(() => {
        port.dma.link(state, 0n, range(BAR, 0x800n), "to-device");
      }),
    ).toBe("EPERM");
    port.dma.link(state, 0n, range(BAR, PAGE), "to-device");
  });

  it("beyond the reservation is caught; the kernel maps it silently (dma-iova R11)", () => {
    const good = linked(2n * PAGE);
    expect(
      errorOf(() => {
        good.dma.link(good.state, PAGE, range(BAR, 2n * PAGE), "to-device");
      }).rule,
    ).toBe("dma-iova R11");
    const kernel = linked(PAGE, { quirks: "linux-7.2" });
    const below = kernel.dma.tryAllocIova(PAGE) ?? expect.unreachable("no IOVA");
    kernel.dma.link(below, 0n, range(BAR, 2n * PAGE), "bidirectional");
    expect(reach(kernel, kernel.state.address)).toBe(hex(BAR + PAGE));
  });
});

describe("unlink, destroy and free", () => {
  it("unlink keeps the IOVA, which can be linked again (dma-iova R8)", () => {
    const { dma, state, ...one } = linked(PAGE);
    for (const start of [BAR, BAR + PAGE]) {
      dma.link(state, 0n, range(start, PAGE), "bidirectional");
      dma.sync(state, 0n, PAGE);
      expect(reach(one, state.address)).toBe(hex(start));
      dma.unlink(state, 0n, PAGE);
      expect(reach(one, state.address)).toBe("not-present");
      expect(one.port.iovas.live).toBe(1);
    }
    dma.free(state);
    expect(one.port.iovas).toEqual({ live: 0, cached: 1, queued: 0 });
  });

  it("destroy of nothing is free (dma-iova R8)", () => {
    const { dma, state, port } = linked(PAGE);
    dma.destroy(state, 0n);
    expect(port.iovas.live).toBe(0);
  });

  it("leave the state as it is: address and size still read the same (dma-iova R7)", () => {
    const { dma, state } = linked(PAGE);
    dma.free(state);
    expect([state.address, state.size]).toEqual([0xffff_f000n, PAGE]);
  });

  it.each(["free", "destroy", "link", "unlink", "sync"] as const)(
    "%s after the IOVA was given back is caught (dma-iova R7)",
    (name) => {
      const { dma, state } = linked(PAGE);
      dma.free(state);
      const calls = {
        free: () => {
          dma.free(state);
        },
        destroy: () => {
          dma.destroy(state, PAGE);
        },
        link: () => {
          dma.link(state, 0n, range(BAR, PAGE), "to-device");
        },
        unlink: () => {
          dma.unlink(state, 0n, PAGE);
        },
        sync: () => {
          dma.sync(state, 0n, PAGE);
        },
      };
      expect(errorOf(calls[name]).rule).toBe("dma-iova R7");
    },
  );

  it("as the kernel does it, a second free gives one IOVA to two owners (dma-iova R7, R22)", () => {
    const { dma, state } = linked(PAGE, { quirks: "linux-7.2" });
    dma.free(state);
    dma.free(state);
    expect(dma.tryAllocIova(PAGE)?.address).toBe(state.address);
    expect(dma.tryAllocIova(PAGE)?.address).toBe(state.address);
  });

  it("free with something linked, destroy of another length and unlink of what is not linked are caught (dma-iova R8)", () => {
    const { dma, state, iommu } = linked(4n * PAGE);
    dma.link(state, 0n, range(BAR, 2n * PAGE), "to-device");
    const before = iommu.usage;
    expect(
      errorOf(() => {
        dma.free(state);
      }).rule,
    ).toBe("dma-iova R8");
    expect(
      errorOf(() => {
        dma.destroy(state, PAGE);
      }).rule,
    ).toBe("dma-iova R8");
    expect(
      errorOf(() => {
        dma.unlink(state, PAGE, 2n * PAGE);
      }).rule,
    ).toBe("dma-iova R8");
    expect(iommu.usage).toEqual(before);
    dma.destroy(state, 2n * PAGE);
    expect(iommu.usage).toMatchObject({ iovas: 0, mappedGranules: 0 });
  });

  it("MMIO is unlinked in one call, however long it is (dma-iova R12)", () => {
    const { dma, state, iommu } = linked(512n * PAGE);
    dma.link(state, 0n, range(BAR, 512n * PAGE), "to-device");
    const { unmaps, flushes } = iommu.stats;
    dma.unlink(state, 0n, 512n * PAGE);
    expect([iommu.stats.unmaps - unmaps, iommu.stats.flushes - flushes]).toEqual([1, 1]);
  });
});

describe("unmapPhys", () => {
  it("takes address and length as mapped, and the rest is caught (dma-iova R32)", () => {
    const { port, iommu } = setup();
    const address = port.dma.mapPhys(range(BAR, 64n * PAGE), "to-device");
    const before = iommu.usage;
    for (const [at, length] of [
      [address, 32n * PAGE],
      [iova(address + PAGE), 63n * PAGE],
      [iova(0x1000n), PAGE],
    ] as const) {
      expect(
        errorOf(() => {
          port.dma.unmapPhys(at, length, "to-device");
        }).code,
      ).toBe("ERR_PROTOCOL");
    }
    expect(iommu.usage).toEqual(before);
    port.dma.unmapPhys(address, 64n * PAGE, "to-device");
    expect(iommu.usage).toMatchObject({ iovas: 0, mappedGranules: 0 });
    expect(
      errorOf(() => {
        port.dma.unmapPhys(address, 64n * PAGE, "to-device");
      }).code,
    ).toBe("ERR_PROTOCOL");
  });

  it("as the kernel does it, a shorter length frees the whole IOVA and leaves the tail mapped (dma-iova R32, R21)", () => {
    const one = setup({ quirks: "linux-7.2" });
    const address = one.port.dma.mapPhys(range(BAR, 65n * PAGE), "bidirectional");
    one.port.dma.unmapPhys(address, 64n * PAGE, "bidirectional");
    expect(one.port.iovas.live).toBe(0);
    expect(reach(one, address + 64n * PAGE)).toBe(hex(BAR + 64n * PAGE));
    one.port.dma.unmapPhys(iova(address + 64n * PAGE), PAGE, "bidirectional");
    expect(one.iommu.usage.mappedGranules).toBe(0);
  });

  it("as the kernel does it, (0, 0) puts granule 0 into a cache and nobody notices (dma-iova R33)", () => {
    const { port, iommu } = setup({ quirks: "linux-7.2" });
    port.dma.unmapPhys(iova(0n), 0n, "bidirectional");
    expect(iommu.log.entries).toEqual([]);
    expect(port.iovas.cached).toBe(1);
    expect(port.dma.tryAllocIova(PAGE)?.address).toBe(0xffff_f000n);
  });
});

describe("a scatterlist of a large BAR", () => {
  it("is one IOVA span however many ranges, cut at 0xfffff000 (dma-iova R26, R27, R28, R30)", () => {
    const one = setup({}, { dmaMask: MASK64 });
    const table = mapPhysVec(
      one.device,
      { kind: "host-bridge" },
      [range(BAR, 4n << 30n)],
      "to-device",
    );
    expect([...table].map(({ length }) => length)).toEqual([0xffff_f000, 0x1000]);
    unmapPhysVec(table);
    expect(one.iommu.usage).toMatchObject({ iovas: 0, mappedGranules: 0 });
  });
});
