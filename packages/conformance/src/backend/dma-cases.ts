import {
  type DmaDirection,
  type DmaMapper,
  type IovaState,
  iova,
  type PhysRange,
} from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { ConformanceFailure, check, equal, expectErrno } from "../expect.js";
import type { BackendCapability, BackendFixture } from "./fixture.js";
import { BackendProbe } from "./probe.js";

type BackendCase = ConformanceCase<BackendFixture, BackendCapability>;

const SIZE = 0x4000n;
const A = "0000:01:00.0";

const linkOffsets: BackendCase = {
  id: "dma/links-at-running-offsets",
  title: "ranges linked one after the other translate in that order, inside one reservation",
  rules: "dma-iova R8, R29, vfio-pci-dmabuf R36, known-bugs B9, B56",
  needs: ["ports", "translating"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const { dma } = device.port;
    const ranges = [fixture.memory(0x3000n), fixture.memory(0x1000n), fixture.memory(0x2000n)];
    const state = reserve(dma, 0x6000n);
    let offset = 0n;
    for (const range of ranges) {
      dma.link(state, offset, range, "bidirectional");
      offset += range.length;
    }
    dma.sync(state, 0n, offset);
    offset = 0n;
    for (const range of ranges) {
      device.expectReaches(state.address + offset, range, "linked");
      offset += range.length;
    }
    dma.destroy(state, offset);
    return Promise.resolve();
  },
};

const linkOverlap: BackendCase = {
  id: "dma/overlapping-link-refused",
  title: "a link over a linked page gives EADDRINUSE or EEXIST, and nothing of it stays",
  rules: "dma-iova R9",
  needs: ["ports", "translating"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const { dma } = device.port;
    const state = reserve(dma, 0x6000n);
    const first = fixture.memory(0x2000n);
    dma.link(state, 0x4000n, first, "bidirectional");
    dma.sync(state, 0x4000n, 0x2000n);
    const second = fixture.memory(0x3000n);
    await expectErrno(
      () => {
        dma.link(state, 0x2000n, second, "bidirectional");
      },
      ["EADDRINUSE", "EEXIST"],
      "a link that ends inside the first",
    );
    device.expectReaches(state.address + 0x4000n, first, "the first link");
    device.expectBlocked(state.address + 0x2000n, 0x2000n, "the part that was free");
    dma.unlink(state, 0x4000n, 0x2000n);
    dma.free(state);
  },
};

const directions: BackendCase = {
  id: "dma/direction-is-permission",
  title: "to-device lets the device read only, from-device write only",
  rules: "dma-iova R6",
  needs: ["ports", "translating"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const { dma } = device.port;
    const memory = fixture.memory(0x1000n);
    const allowed: readonly (readonly [DmaDirection, boolean, boolean])[] = [
      ["to-device", true, false],
      ["from-device", false, true],
      ["bidirectional", true, true],
    ];
    for (const [direction, reads, writes] of allowed) {
      const state = reserve(dma, 0x1000n);
      dma.link(state, 0n, memory, direction);
      dma.sync(state, 0n, 0x1000n);
      equal(device.target(state.address, false) !== undefined, reads, `read, ${direction}`);
      equal(device.target(state.address, true) !== undefined, writes, `write, ${direction}`);
      dma.destroy(state, 0x1000n);
      const mapped = dma.mapPhys(memory, direction);
      equal(device.target(mapped, false) !== undefined, reads, `read, mapPhys ${direction}`);
      equal(device.target(mapped, true) !== undefined, writes, `write, mapPhys ${direction}`);
      dma.unmapPhys(mapped, 0x1000n, direction);
    }
    return Promise.resolve();
  },
};

const unlinkKeeps: BackendCase = {
  id: "dma/unlink-keeps-the-iova",
  title: "unlink ends the translation at once; the IOVA stays reserved and can be linked again",
  rules: "dma-iova R8, R13",
  needs: ["ports", "translating"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const { dma } = device.port;
    const memory = fixture.memory(SIZE);
    const state = reserve(dma, SIZE);
    link(dma, state, memory);
    dma.unlink(state, 0n, SIZE);
    device.expectBlocked(state.address, SIZE, "unlinked");
    const others = Array.from({ length: 16 }, () => reserve(dma, SIZE));
    for (const other of others) checkDisjoint(other, state);
    link(dma, state, memory);
    device.expectReaches(state.address, memory, "linked again");
    dma.unlink(state, 0n, SIZE);
    for (const one of [state, ...others]) dma.free(one);
    return Promise.resolve();
  },
};

const destroyOnce: BackendCase = {
  id: "dma/destroy-frees-once",
  title: "after destroy the IOVA has one next owner, not two",
  rules: "dma-iova R7, R22, known-bugs B19",
  needs: ["ports", "translating"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const { dma } = device.port;
    for (const size of [0x1000n, 0x5000n, 0x4_0000n]) {
      const memory = fixture.memory(size);
      const state = reserve(dma, size);
      link(dma, state, memory);
      dma.destroy(state, size);
      await fixture.flush?.();
      device.expectBlocked(state.address, size, "destroyed");
      const next = Array.from({ length: 8 }, () => reserve(dma, size));
      for (const [i, one] of next.entries()) {
        for (const other of next.slice(i + 1)) checkDisjoint(one, other);
      }
      for (const one of next) dma.free(one);
    }
  },
};

const reuse: BackendCase = {
  id: "dma/freed-iova-comes-back",
  title: "IOVA space is not lost: reserve and free go on far beyond its size, up to 4 GiB",
  rules: "dma-iova R8, R15, R20, known-bugs B10",
  needs: ["ports", "translating"],
  async run(fixture) {
    const { dma } = new BackendProbe(fixture, A).port;
    const size = largest(dma, 0x2000_0000n);
    for (let i = 0; i < 64; i++) {
      dma.free(reserve(dma, size));
      const again = reserve(dma, size);
      dma.destroy(again, 0n);
      await fixture.flush?.();
    }
    const late = reserve(dma, size);
    check(late.address <= 0xffff_ffffn, "the space below 4 GiB ran out although all was freed");
    dma.free(late);
  },
};

const disjoint: BackendCase = {
  id: "dma/live-iovas-are-disjoint",
  title: "live reservations never overlap, are never 0, and stay off the reserved regions",
  rules: "dma-iova R16, R19, R25",
  needs: ["ports", "translating"],
  run(fixture) {
    const msi = { first: iova(0xfee0_0000n), last: iova(0xfeef_ffffn), kind: "msi" as const };
    const { dma } = new BackendProbe(fixture, A, [msi]).port;
    const live: IovaState[] = [];
    for (const size of [0x1000n, 0x5000n, 0x10_0000n, 0x1000n, 0x40_0000n, 0x100_0000n, 0x3000n]) {
      const state = reserve(dma, size);
      check(state.address > 0n, "IOVA 0 was handed out");
      checkDisjoint(state, { address: msi.first, size: msi.last - msi.first + 1n });
      for (const other of live) checkDisjoint(state, other);
      live.push(state);
    }
    for (const state of live) dma.free(state);
    return Promise.resolve();
  },
};

const emptyReservation: BackendCase = {
  id: "dma/empty-reservation-refused",
  title: "a reservation of 0 bytes, or of one with bit 63, is not granted",
  rules: "dma-iova R1, vfio-pci-dmabuf V16, known-bugs B16",
  needs: ["ports", "translating"],
  run(fixture) {
    const { dma } = new BackendProbe(fixture, A).port;
    equal(dma.tryAllocIova(0n), undefined, "reservation of 0 bytes");
    equal(dma.tryAllocIova(1n << 63n), undefined, "reservation of 2^63 bytes");
    return Promise.resolve();
  },
};

const mapPhys: BackendCase = {
  id: "dma/map-phys",
  title: "mapPhys gives an IOVA that reaches the range, and unmapPhys takes it back",
  rules: "dma-iova R32, R6",
  needs: ["ports", "translating"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const { dma } = device.port;
    equal(dma.space, "iova", "space of the mapper");
    const memory = fixture.memory(SIZE);
    const other = fixture.memory(SIZE);
    const [first, second] = [
      dma.mapPhys(memory, "bidirectional"),
      dma.mapPhys(other, "bidirectional"),
    ];
    device.expectReaches(first, memory, "first");
    device.expectReaches(second, other, "second");
    dma.unmapPhys(first, SIZE, "bidirectional");
    await fixture.flush?.();
    device.expectBlocked(first, SIZE, "unmapped");
    device.expectReaches(second, other, "second, the first being gone");
    dma.unmapPhys(second, SIZE, "bidirectional");
  },
};

const direct: BackendCase = {
  id: "dma/direct",
  title: "without translation there is no IOVA, and mapPhys gives the physical address unchanged",
  rules: "dma-iova R1, R2",
  needs: ["ports", "direct"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const { dma } = device.port;
    equal(dma.space, "bus", "space of the mapper");
    equal(dma.tryAllocIova(SIZE), undefined, "reservation");
    const memory = fixture.memory(SIZE);
    equal(dma.mapPhys(memory, "bidirectional"), memory.start, "address");
    device.expectReaches(memory.start, memory, "direct");
    dma.unmapPhys(dma.mapPhys(memory, "bidirectional"), SIZE, "bidirectional");
    device.expectReaches(memory.start, memory, "after unmap, which does nothing");
    return Promise.resolve();
  },
};

const faultsRecorded: BackendCase = {
  id: "dma/faults-are-recorded-not-thrown",
  title: "an access that nothing maps is stopped and recorded, and the device sees no exception",
  rules: "iommufd R19",
  needs: ["ports", "translating", "faults"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const before = fixture.faults?.() ?? 0;
    equal(device.target(0x1234_5000n, true), undefined, "write where nothing is mapped");
    equal(device.target(0x1234_5000n, false), undefined, "read where nothing is mapped");
    equal(fixture.faults?.(), before + 2, "faults recorded");
    const { dma } = device.port;
    const address = dma.mapPhys(fixture.memory(0x1000n), "to-device");
    check(device.target(address, false) !== undefined, "an allowed read was stopped");
    equal(fixture.faults?.(), before + 2, "faults after an allowed read");
    equal(device.target(address, true), undefined, "write to a page for reading");
    equal(fixture.faults?.(), before + 3, "faults after a forbidden write");
    return Promise.resolve();
  },
};

function reserve(dma: DmaMapper, size: bigint): IovaState {
  const state = dma.tryAllocIova(size);
  if (state === undefined) throw new ConformanceFailure(`no IOVA for 0x${size.toString(16)} bytes`);
  return state;
}

/** The largest reservation, up to `most`, that the mapper grants: its space may be much smaller than 4 GiB. */
function largest(dma: DmaMapper, most: bigint): bigint {
  for (let size = most; size >= 0x10_0000n; size /= 2n) {
    const state = dma.tryAllocIova(size);
    if (state === undefined) continue;
    dma.free(state);
    return size;
  }
  throw new ConformanceFailure("no IOVA for 1 MiB");
}

function link(dma: DmaMapper, state: IovaState, range: PhysRange): void {
  dma.link(state, 0n, range, "bidirectional");
  dma.sync(state, 0n, range.length);
}

function checkDisjoint(
  a: { readonly address: bigint; readonly size: bigint },
  b: { readonly address: bigint; readonly size: bigint },
): void {
  check(
    a.address + a.size <= b.address || b.address + b.size <= a.address,
    `two owners share IOVAs: 0x${a.address.toString(16)} and 0x${b.address.toString(16)}`,
  );
}

/** The DMA API of a device's own domain. */
export const dmaCases: readonly BackendCase[] = [
  linkOffsets,
  linkOverlap,
  directions,
  unlinkKeeps,
  destroyOnce,
  reuse,
  disjoint,
  emptyReservation,
  mapPhys,
  direct,
  faultsRecorded,
];
