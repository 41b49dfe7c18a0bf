import { dispose, iova, type PhysRange, physAddr } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { check, equal, expectErrno } from "../expect.js";
import type { BackendCapability, BackendFixture } from "./fixture.js";
import { BackendProbe, mapRanges, somewhere } from "./probe.js";

type BackendCase = ConformanceCase<BackendFixture, BackendCapability>;

const SIZE = 0x4000n;
const LARGE = 0x20_0000n;
const A = "0000:01:00.0";
const B = "0000:02:00.0";

const runs: BackendCase = {
  id: "space/translates-in-runs",
  title: "asked for many pages, translate ends where memory, permission or mapping do",
  rules: "iommufd R8, R10, dma-iova R6",
  needs: ["phys", "ports"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const at = somewhere(space);
    const [low, high] = [fixture.memory(SIZE), fixture.memory(SIZE)];
    // Side by side for the device and backwards in memory; then one stretch of memory with two permissions; then nothing.
    const [first, second] = halves(low);
    mapRanges(space, [high], { iova: at });
    mapRanges(space, [first], { iova: iova(at + SIZE) });
    mapRanges(space, [second], { iova: iova(at + SIZE + first.length), access: "r" });
    for (let page = 0n; page < 8n; page++) {
      for (const write of [false, true]) {
        for (const most of [1, 2, 3, 8, 64]) device.expectRun(at + page * 0x1000n, most, write);
      }
    }
    space[dispose]();
    return Promise.resolve();
  },
};

const large: BackendCase = {
  id: "space/large-pages",
  title: "where a large page would fit, memory at any place is reached page by page, and let go",
  rules: "iommufd R6, R10, R14, R16",
  needs: ["phys", "ports"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const at = iova((somewhere(space, LARGE) / LARGE) * LARGE);
    const all = fixture.memory(3n * LARGE);
    // The memory begins where a large page does, and a page after that.
    const aligned = all.start + ((LARGE - (all.start % LARGE)) % LARGE);
    const next = fixture.memory(0x1000n);
    for (const start of [aligned, aligned + 0x1000n]) {
      const range: PhysRange = { start: physAddr(start), length: 2n * LARGE - 0x1000n };
      const end = at + range.length;
      const mapping = mapRanges(space, [range], { iova: at });
      mapRanges(space, [next], { iova: iova(end) });
      for (const offset of [0n, 0x1000n, LARGE - 0x1000n, LARGE, range.length - 0x1000n]) {
        const found = device.target(at + offset, true);
        equal(found, start + offset, `large mapping at offset 0x${offset.toString(16)}`);
      }
      device.expectReaches(end, next, "the page after it");
      mapping.revoke();
      for (const offset of [0n, LARGE, range.length - 0x1000n]) {
        device.expectBlocked(at + offset, 0x1000n, "revoked");
      }
      device.expectReaches(end, next, "the page after it, which was not revoked");
      equal(space.unmapAll(), 2n * LARGE, "bytes unmapped");
    }
    space[dispose]();
    return Promise.resolve();
  },
};

const permissionsEverywhere: BackendCase = {
  id: "space/permissions-in-every-domain",
  title: "read-only stays read-only in a domain made later, and in a copy that asks for no more",
  rules: "iommufd R8, R24, R26",
  needs: ["phys", "ports"],
  run(fixture) {
    const [a, b] = [new BackendProbe(fixture, A), new BackendProbe(fixture, B)];
    const space = fixture.iommu.allocAddressSpace();
    space.attach(a.device);
    const [memory, writable] = [fixture.memory(SIZE), fixture.memory(SIZE)];
    const readOnly = mapRanges(space, [memory], { access: "r" });
    const readWrite = mapRanges(space, [writable]);
    const copy = space.copy(space, readWrite.iova, SIZE, { access: "r" });
    space.attach(b.device, space.allocDomain(b.device));
    for (const device of [a, b]) {
      const who = device.port.name;
      equal(device.target(readOnly.iova, false), memory.start, `read of read-only, ${who}`);
      equal(device.target(readOnly.iova, true), undefined, `write to read-only, ${who}`);
      device.expectReaches(readWrite.iova, writable, `read and write, ${who}`);
      equal(device.target(copy.iova, false), writable.start, `read of a read-only copy, ${who}`);
      equal(device.target(copy.iova, true), undefined, `write to a read-only copy, ${who}`);
    }
    space[dispose]();
    return Promise.resolve();
  },
};

const detachOne: BackendCase = {
  id: "space/detach-one-of-two",
  title: "of two devices in one domain one leaves: the other goes on, and a revoke reaches it",
  rules: "iommufd R14, R18, R26",
  needs: ["phys", "ports"],
  run(fixture) {
    const [a, b] = [new BackendProbe(fixture, A), new BackendProbe(fixture, B)];
    const space = fixture.iommu.allocAddressSpace();
    space.attach(a.device);
    space.attach(b.device);
    const memory = fixture.memory(SIZE);
    const mapping = mapRanges(space, [memory]);
    space.detach(a.device);
    b.expectReaches(mapping.iova, memory, "the device that stays");
    const later = fixture.memory(SIZE);
    const second = mapRanges(space, [later]);
    b.expectReaches(second.iova, later, "what is mapped afterwards");
    mapping.revoke();
    b.expectBlocked(mapping.iova, SIZE, "revoked, the device that stays");
    space[dispose]();
    return Promise.resolve();
  },
};

const copyWidens: BackendCase = {
  id: "space/copy-does-not-widen",
  title: "a copy that asks to write what was mapped for reading gives EPERM and maps nothing",
  rules: "iommufd R24",
  needs: ["phys", "ports"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const [source, target] = [fixture.iommu.allocAddressSpace(), fixture.iommu.allocAddressSpace()];
    target.attach(device.device);
    const { iova: at } = mapRanges(source, [fixture.memory(SIZE)], { access: "r" });
    for (const access of ["rw", "w"] as const) {
      const copy = (): unknown => target.copy(source, at, SIZE, { access });
      await expectErrno(copy, "EPERM", `copy for ${access} of what was mapped for r`);
    }
    equal(target.unmapAll(), 0n, "bytes mapped by the refused copies");
    target.copy(source, at, SIZE, { access: "r" });
    equal(target.unmapAll(), SIZE, "bytes of a copy for reading");
    source[dispose]();
    target[dispose]();
  },
};

const copyOfRevoked: BackendCase = {
  id: "space/copy-of-what-is-revoked",
  title: "a copy of a revoked area succeeds, is revoked, reaches nothing and keeps its IOVA",
  rules: "iommufd R15, R16",
  needs: ["phys", "ports"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const [source, target] = [fixture.iommu.allocAddressSpace(), fixture.iommu.allocAddressSpace()];
    target.attach(device.device);
    const mapping = mapRanges(source, [fixture.memory(SIZE)]);
    mapping.revoke();
    const at = somewhere(target);
    const copy = target.copy(source, mapping.iova, SIZE, { iova: at, access: "rw" });
    equal(copy.revoked, true, "revoked, of the copy");
    device.expectBlocked(at, SIZE, "a copy of a revoked area");
    const again = (): unknown => mapRanges(target, [fixture.memory(SIZE)], { iova: at });
    await expectErrno(again, "EEXIST", "map at the copy's IOVA");
    equal(target.unmap(at, SIZE), SIZE, "bytes unmapped");
    source[dispose]();
    target[dispose]();
  },
};

const restoresWhatIsGiven: BackendCase = {
  id: "space/restore-takes-what-is-given",
  title: "where a revoke can end, every domain reaches the memory handed over now, not the old",
  rules: "iommufd R15, R17",
  needs: ["phys", "ports"],
  run(fixture) {
    const [a, b] = [new BackendProbe(fixture, A), new BackendProbe(fixture, B)];
    const space = fixture.iommu.allocAddressSpace();
    space.attach(a.device);
    const [old, fresh] = [fixture.memory(SIZE), fixture.memory(SIZE)];
    const mapping = mapRanges(space, [old]);
    mapping.revoke();
    space.attach(b.device, space.allocDomain(b.device));
    // Linux has none: then a revoke is for good.
    if (mapping.restore !== undefined) {
      mapping.restore("phys", [fresh]);
      for (const device of [a, b]) {
        device.expectReaches(mapping.iova, fresh, `restored, ${device.port.name}`);
      }
      mapping.restore("phys", [old]);
      a.expectReaches(mapping.iova, fresh, "restored again, which does nothing");
      mapping.revoke();
      for (const device of [a, b]) {
        device.expectBlocked(mapping.iova, SIZE, `revoked again, ${device.port.name}`);
      }
    }
    equal(space.unmapAll(), SIZE, "bytes unmapped");
    space[dispose]();
    return Promise.resolve();
  },
};

const unlinkOneOfTwo: BackendCase = {
  id: "dma/unlink-one-of-two",
  title: "unlink ends the links that it names, and leaves those beside them",
  rules: "dma-iova R8, R12",
  needs: ["ports", "translating"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const { dma } = device.port;
    const ranges = [fixture.memory(0x2000n), fixture.memory(0x3000n), fixture.memory(0x1000n)];
    const [first, second, third] = ranges as [PhysRange, PhysRange, PhysRange];
    const state = dma.tryAllocIova(0x6000n);
    check(state !== undefined, "no IOVA for 0x6000 bytes");
    let offset = 0n;
    for (const range of ranges) {
      dma.link(state, offset, range, "bidirectional");
      offset += range.length;
    }
    dma.sync(state, 0n, offset);
    dma.unlink(state, 0x2000n, 0x3000n);
    device.expectReaches(state.address, first, "the link before");
    device.expectBlocked(state.address + 0x2000n, 0x3000n, "the unlinked");
    device.expectReaches(state.address + 0x5000n, third, "the link after");
    dma.link(state, 0x2000n, second, "bidirectional");
    dma.sync(state, 0x2000n, 0x3000n);
    device.expectReaches(state.address + 0x2000n, second, "linked again");
    dma.destroy(state, 0x6000n);
    return Promise.resolve();
  },
};

function halves({ start, length }: PhysRange): readonly [PhysRange, PhysRange] {
  const half = length / 2n;
  return [
    { start, length: half },
    { start: physAddr(start + half), length: length - half },
  ];
}

/** How far a translation, a permission or a revoke reaches: to its own end and no further, in every domain and copy. */
export const extentCases: readonly BackendCase[] = [
  runs,
  large,
  permissionsEverywhere,
  detachOne,
  copyWidens,
  copyOfRevoked,
  restoresWhatIsGiven,
  unlinkOneOfTwo,
];
