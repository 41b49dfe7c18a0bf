import { dispose, type InterconnectName, iova } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { check, equal, expectErrno } from "../expect.js";
import type { BackendCapability, BackendFixture } from "./fixture.js";
import { BackendProbe, mapRanges, somewhere } from "./probe.js";

type BackendCase = ConformanceCase<BackendFixture, BackendCapability>;

const SIZE = 0x4000n;
const A = "0000:01:00.0";
const B = "0000:02:00.0";

const mapTranslates: BackendCase = {
  id: "space/map-translates",
  title: "an attached device reaches every page of a mapped range, and nothing beside it",
  rules: "iommufd R10, R26",
  needs: ["phys", "ports"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const memory = fixture.memory(SIZE);
    const mapping = mapRanges(space, [memory], { iova: somewhere(space) });
    equal(mapping.iova, somewhere(space), "iova");
    equal(mapping.length, SIZE, "length");
    equal(mapping.revoked, false, "revoked");
    device.expectReaches(mapping.iova, memory, "mapped");
    device.expectBlocked(mapping.iova + SIZE, 0x1000n, "the page after it");
    device.expectBlocked(mapping.iova - 0x1000n, 0x1000n, "the page before it");
    space[dispose]();
    await fixture.flush?.();
  },
};

const runningOffsets: BackendCase = {
  id: "space/ranges-in-order",
  title: "several ranges follow each other, and a slice begins inside them",
  rules: "iommufd R10, known-bugs B9, B56",
  needs: ["phys", "ports"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const ranges = [fixture.memory(0x3000n), fixture.memory(0x1000n), fixture.memory(0x2000n)];
    const mapping = space.map("phys", ranges, {
      slice: { offset: 0x2000n, length: 0x3000n },
      access: "rw",
    });
    const expected = [ranges[0], ranges[1], ranges[2]].map((range, index) =>
      index === 0 ? (range?.start ?? 0n) + 0x2000n : (range?.start ?? 0n),
    );
    for (const [page, start] of expected.entries()) {
      equal(
        device.target(mapping.iova + BigInt(page) * 0x1000n, true),
        start,
        `page ${String(page)}`,
      );
    }
    device.expectBlocked(mapping.iova + 0x3000n, 0x1000n, "behind the slice");
    space[dispose]();
    return Promise.resolve();
  },
};

const permissions: BackendCase = {
  id: "space/permissions",
  title: "a read-only mapping stops writes, a write-only one stops reads",
  rules: "iommufd R8",
  needs: ["phys", "ports"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const memory = fixture.memory(SIZE);
    const readable = mapRanges(space, [memory], { access: "r" });
    equal(device.target(readable.iova, false), memory.start, "read of a read-only page");
    equal(device.target(readable.iova, true), undefined, "write to a read-only page");
    const writable = mapRanges(space, [memory], { access: "w" });
    equal(device.target(writable.iova, true), memory.start, "write to a write-only page");
    equal(device.target(writable.iova, false), undefined, "read of a write-only page");
    space[dispose]();
    return Promise.resolve();
  },
};

const fixedErrors: BackendCase = {
  id: "space/fixed-iova-errors",
  title: "a fixed IOVA that is misaligned, wraps, or is occupied is refused and changes nothing",
  rules: "iommufd M17, R16",
  needs: ["phys", "ports"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const memory = fixture.memory(SIZE);
    const other = fixture.memory(SIZE);
    // Not at the very start of a range: what lies before it must be usable too.
    const at = somewhere(space, 0x10_0000n);
    mapRanges(space, [memory], { iova: at });
    const attempt = (where: bigint) => () => mapRanges(space, [other], { iova: iova(where) });
    await expectErrno(attempt(at), "EEXIST", "map over the whole area");
    await expectErrno(attempt(at + 0x3000n), "EEXIST", "map over its last page");
    await expectErrno(attempt(at - 0x3000n), "EEXIST", "map over its first page");
    await expectErrno(attempt(at + 0x10_0001n), "EINVAL", "misaligned iova");
    await expectErrno(attempt((1n << 64n) - 0x1000n), ["EOVERFLOW", "EINVAL"], "wrapping iova");
    device.expectReaches(at, memory, "the first mapping, after the refusals");
    device.expectBlocked(at + SIZE, 0x3000n, "what a refused map wanted");
    equal(space.unmapAll(), SIZE, "bytes mapped in all");
    space[dispose]();
  },
};

const reservedErrors: BackendCase = {
  id: "space/reserved-regions",
  title: "a device's reserved regions are no usable ranges: fixed maps there give EINVAL",
  rules: "iommufd R4, R5, R28, M17",
  needs: ["phys", "ports"],
  async run(fixture) {
    const msi = { first: iova(0xfee0_0000n), last: iova(0xfeef_ffffn), kind: "msi" as const };
    const device = new BackendProbe(fixture, A, [msi]);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    check(
      space.ranges.every(({ first, last }) => last < msi.first || first > msi.last),
      "a usable range overlaps the reserved region",
    );
    const memory = fixture.memory(SIZE);
    await expectErrno(() => mapRanges(space, [memory], { iova: msi.first }), "EINVAL", "map there");
    await expectErrno(
      () => {
        space.allow([{ first: msi.first, last: msi.last }]);
      },
      "EADDRINUSE",
      "allow over it",
    );
    space[dispose]();
  },
};

const automatic: BackendCase = {
  id: "space/automatic-iova",
  title: "chosen IOVAs are never 0, inside the usable ranges, and never overlap",
  rules: "iommufd R6",
  needs: ["phys", "ports"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const taken: { first: bigint; last: bigint }[] = [];
    for (const size of [0x1000n, 0x3000n, 0x1_0000n, 0x1000n, 0x20_0000n]) {
      const mapping = mapRanges(space, [fixture.memory(size)]);
      const [first, last] = [mapping.iova, mapping.iova + size - 1n];
      check(first > 0n, "the chosen IOVA is 0");
      check(
        space.ranges.some((range) => range.first <= first && last <= range.last),
        `the chosen IOVA 0x${first.toString(16)} is outside the usable ranges`,
      );
      for (const one of taken) check(last < one.first || first > one.last, "two IOVAs overlap");
      taken.push({ first, last });
    }
    space[dispose]();
    return Promise.resolve();
  },
};

const allowSteers: BackendCase = {
  id: "space/allow-steers-automatic-choice-only",
  title: "allowed ranges bind the automatic choice, ENOSPC when full, and not a fixed IOVA",
  rules: "iommufd R5, R6",
  needs: ["phys", "ports"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const first = somewhere(space, 0x80_0000n);
    space.allow([{ first, last: iova(first + SIZE - 1n) }]);
    equal(mapRanges(space, [fixture.memory(SIZE)]).iova, first, "the only allowed place");
    const more = [fixture.memory(0x1000n)];
    await expectErrno(() => mapRanges(space, more), "ENOSPC", "map when it is full");
    mapRanges(space, more, { iova: somewhere(space) });
    space[dispose]();
  },
};

const unmapLength: BackendCase = {
  id: "space/unmap-returns-the-length",
  title: "unmap gives the bytes unmapped, ends the translation and frees the IOVA",
  rules: "iommufd R16, R23",
  needs: ["phys", "ports"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const at = somewhere(space);
    const memory = fixture.memory(SIZE);
    for (let i = 0; i < 3; i++) {
      mapRanges(space, [memory], { iova: at });
      device.expectReaches(at, memory, "mapped");
      equal(space.unmap(at, SIZE), SIZE, "bytes unmapped");
      await fixture.flush?.();
      device.expectBlocked(at, SIZE, "unmapped");
    }
    mapRanges(space, [memory], { iova: at });
    mapRanges(space, [fixture.memory(0x2000n)], { iova: iova(at + SIZE) });
    equal(space.unmap(at, 0x10_0000n), SIZE + 0x2000n, "bytes of two areas at once");
    space[dispose]();
  },
};

const unmapErrors: BackendCase = {
  id: "space/unmap-errors",
  title: "a hole or a part of an area gives ENOENT, length 0 EINVAL, and the area stays",
  rules: "iommufd R23",
  needs: ["phys", "ports"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const at = somewhere(space);
    const memory = fixture.memory(SIZE);
    await expectErrno(() => space.unmap(at, SIZE), "ENOENT", "unmap of a hole");
    mapRanges(space, [memory], { iova: at });
    await expectErrno(() => space.unmap(at, 0x1000n), "ENOENT", "unmap of the first page");
    await expectErrno(() => space.unmap(iova(at + 0x1000n), SIZE), "ENOENT", "unmap of the tail");
    await expectErrno(() => space.unmap(at, 0n), "EINVAL", "unmap of nothing");
    device.expectReaches(at, memory, "after the refusals");
    equal(space.unmap(at, SIZE), SIZE, "bytes unmapped in the end");
    space[dispose]();
  },
};

const unmapAll: BackendCase = {
  id: "space/unmap-all",
  title: "unmapping everything gives the sum, and 0 where nothing is mapped",
  rules: "iommufd R23",
  needs: ["phys"],
  run(fixture) {
    const space = fixture.iommu.allocAddressSpace();
    equal(space.unmapAll(), 0n, "bytes of an empty space");
    mapRanges(space, [fixture.memory(SIZE)]);
    mapRanges(space, [fixture.memory(0x1000n)]);
    equal(space.unmapAll(), SIZE + 0x1000n, "bytes of two areas");
    equal(space.unmapAll(), 0n, "bytes the second time");
    space[dispose]();
    return Promise.resolve();
  },
};

const revokeKeepsIova: BackendCase = {
  id: "space/revoke-keeps-the-iova",
  title: "a revoked area translates nothing, keeps its IOVA occupied, and unmaps at full length",
  rules: "iommufd R14, R15, R16, R18, known-bugs B28",
  needs: ["phys", "ports"],
  async run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    space.attach(device.device);
    const at = somewhere(space);
    const mapping = mapRanges(space, [fixture.memory(SIZE)], { iova: at });
    mapping.revoke();
    mapping.revoke();
    equal(mapping.revoked, true, "revoked");
    device.expectBlocked(at, SIZE, "revoked");
    const fresh = fixture.memory(SIZE);
    await expectErrno(() => mapRanges(space, [fresh], { iova: at }), "EEXIST", "map at its IOVA");
    equal(space.unmap(at, SIZE), SIZE, "bytes unmapped");
    mapRanges(space, [fresh], { iova: at });
    mapping.revoke();
    device.expectReaches(at, fresh, "the next mapping there, after a late revoke of the old one");
    space[dispose]();
  },
};

const revokeReachesAll: BackendCase = {
  id: "space/revoke-reaches-every-domain",
  title: "a revoke empties every domain of the space and none of another mapping's pages",
  rules: "iommufd R14, R19, known-bugs B30",
  needs: ["phys", "ports"],
  run(fixture) {
    const [a, b] = [new BackendProbe(fixture, A), new BackendProbe(fixture, B)];
    const space = fixture.iommu.allocAddressSpace();
    space.attach(a.device, space.allocDomain(a.device));
    space.attach(b.device, space.allocDomain(b.device));
    equal(space.domains.length, 2, "domains");
    const mapping = mapRanges(space, [fixture.memory(SIZE)]);
    const memory = fixture.memory(SIZE);
    const other = mapRanges(space, [memory]);
    mapping.revoke();
    for (const device of [a, b]) {
      device.expectBlocked(mapping.iova, SIZE, `revoked, ${device.port.name}`);
      device.expectReaches(other.iova, memory, `the other mapping, ${device.port.name}`);
    }
    space[dispose]();
    return Promise.resolve();
  },
};

const lateDomain: BackendCase = {
  id: "space/late-domain-is-filled",
  title: "a domain attached later carries every area, but for the revoked ones",
  rules: "iommufd R17, R26, known-bugs B29",
  needs: ["phys", "ports"],
  run(fixture) {
    const [a, b] = [new BackendProbe(fixture, A), new BackendProbe(fixture, B)];
    const space = fixture.iommu.allocAddressSpace();
    space.attach(a.device);
    const memory = fixture.memory(SIZE);
    const alive = mapRanges(space, [memory]);
    const dead = mapRanges(space, [fixture.memory(SIZE)]);
    dead.revoke();
    space.attach(b.device, space.allocDomain(b.device));
    b.expectReaches(alive.iova, memory, "an area made before");
    b.expectBlocked(dead.iova, SIZE, "a revoked area");
    equal(space.unmapAll(), 2n * SIZE, "bytes unmapped");
    space[dispose]();
    return Promise.resolve();
  },
};

const freeDomain: BackendCase = {
  id: "space/free-domain",
  title: "a domain in use is not freed (EBUSY), a foreign one is unknown (ENOENT), areas survive",
  rules: "iommufd R18",
  needs: ["phys", "ports"],
  async run(fixture) {
    const [a, b] = [new BackendProbe(fixture, A), new BackendProbe(fixture, B)];
    const space = fixture.iommu.allocAddressSpace();
    const domain = space.allocDomain(a.device);
    space.attach(a.device, domain);
    space.attach(b.device, space.allocDomain(b.device));
    const memory = fixture.memory(SIZE);
    const mapping = mapRanges(space, [memory]);
    await expectErrno(
      () => {
        space.freeDomain(domain);
      },
      "EBUSY",
      "free while attached",
    );
    space.detach(a.device);
    space.freeDomain(domain);
    await expectErrno(
      () => {
        space.freeDomain(domain);
      },
      "ENOENT",
      "free of what is gone",
    );
    b.expectReaches(mapping.iova, memory, "through the other domain");
    mapping.revoke();
    b.expectBlocked(mapping.iova, SIZE, "revoked after a domain was freed");
    space[dispose]();
  },
};

const detachStops: BackendCase = {
  id: "space/detach-stops-dma",
  title: "a detached device reaches nothing of the space, and can be attached again",
  rules: "iommufd R26",
  needs: ["phys", "ports"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const space = fixture.iommu.allocAddressSpace();
    const domain = space.attach(device.device);
    equal(domain.devices.join(), A, "devices of the domain");
    const memory = fixture.memory(SIZE);
    const { iova: at } = mapRanges(space, [memory], { iova: somewhere(space) });
    space.detach(device.device);
    const reached = device.target(at, true);
    check(reached !== memory.start, "a detached device still reaches the mapping");
    space.attach(device.device);
    device.expectReaches(at, memory, "attached again");
    space[dispose]();
    check(device.target(at, true) !== memory.start, "a disposed space still translates");
    return Promise.resolve();
  },
};

const attachMoves: BackendCase = {
  id: "space/attach-moves",
  title:
    "a device that is attached elsewhere moves there, and the automatic domain it leaves alone ends",
  rules: "iommufd R26",
  needs: ["phys", "ports"],
  run(fixture) {
    const device = new BackendProbe(fixture, A);
    const [first, second] = [fixture.iommu.allocAddressSpace(), fixture.iommu.allocAddressSpace()];
    const [here, there] = [fixture.memory(SIZE), fixture.memory(SIZE)];
    // Attached first: a space without devices does not know yet which addresses they can have.
    first.attach(device.device);
    const at = somewhere(first);
    mapRanges(first, [here], { iova: at });
    mapRanges(second, [there], { iova: at });
    device.expectReaches(at, here, "attached first");
    second.attach(device.device);
    device.expectReaches(at, there, "attached to another space");
    equal(first.domains.length, 0, "domains of the space it left");
    first[dispose]();
    device.expectReaches(at, there, "the space it left being gone");
    const own = second.allocDomain(device.device);
    equal(second.attach(device.device, own), own, "domain");
    equal(second.domains.length, 1, "domains of the space it stays in");
    device.expectReaches(at, there, "attached to a domain of the same space");
    second[dispose]();
    return Promise.resolve();
  },
};

const attachTakesAutomatic: BackendCase = {
  id: "space/attach-takes-automatic-domains",
  title:
    "a device attached without a domain gets an automatic one, whatever domains were allocated",
  rules: "iommufd R26",
  needs: ["phys", "ports"],
  run(fixture) {
    const [a, b] = [new BackendProbe(fixture, A), new BackendProbe(fixture, B)];
    const space = fixture.iommu.allocAddressSpace();
    const own = space.allocDomain(a.device);
    const automatic = space.attach(b.device);
    check(automatic !== own, "a device got the domain that was allocated for another");
    equal(space.attach(a.device, own), own, "domain that was asked for");
    const joined = space.attach(a.device);
    check(joined !== own, "the device stayed in the domain that was allocated");
    equal(own.devices.length, 0, "devices of the domain it left");
    const memory = fixture.memory(SIZE);
    const at = somewhere(space);
    mapRanges(space, [memory], { iova: at });
    a.expectReaches(at, memory, "in the automatic domain");
    space.freeDomain(own);
    a.expectReaches(at, memory, "the allocated domain being gone");
    space[dispose]();
    return Promise.resolve();
  },
};

const copies: BackendCase = {
  id: "space/copy",
  title: "a copy maps the same memory in another space, and ENOENT where the source has none",
  rules: "iommufd R24, R9",
  needs: ["phys", "ports"],
  async run(fixture) {
    const [a, b] = [new BackendProbe(fixture, A), new BackendProbe(fixture, B)];
    const source = fixture.iommu.allocAddressSpace();
    const target = fixture.iommu.allocAddressSpace();
    source.attach(a.device);
    target.attach(b.device);
    const memory = fixture.memory(SIZE);
    const mapping = mapRanges(source, [memory]);
    const copied = target.copy(source, mapping.iova, SIZE, { access: "rw" });
    b.expectReaches(copied.iova, memory, "the copy");
    const hole = iova(mapping.iova + 0x1000_0000n);
    await expectErrno(
      () => target.copy(source, hole, SIZE, { access: "rw" }),
      "ENOENT",
      "copy of a hole",
    );
    source.unmap(mapping.iova, SIZE);
    b.expectReaches(copied.iova, memory, "the copy, the source being gone");
    source[dispose]();
    target[dispose]();
  },
};

const unknownInterconnect: BackendCase = {
  id: "space/unknown-interconnect",
  title: "what the backend does not accept is refused with EOPNOTSUPP",
  rules: "iommufd M13",
  needs: ["phys"],
  async run(fixture) {
    check(fixture.iommu.accepts.includes("phys"), "the backend does not list phys");
    const space = fixture.iommu.allocAddressSpace();
    const foreign = "conformance-unknown" as InterconnectName;
    const request = { slice: { offset: 0n, length: SIZE }, access: "rw" as const };
    const ranges = [fixture.memory(SIZE)];
    await expectErrno(() => space.map(foreign, ranges, request), "EOPNOTSUPP", "the map");
    equal(space.unmapAll(), 0n, "bytes mapped afterwards");
    space[dispose]();
  },
};

/** Address spaces: what iommufd needs. */
export const spaceCases: readonly BackendCase[] = [
  mapTranslates,
  runningOffsets,
  permissions,
  fixedErrors,
  reservedErrors,
  automatic,
  allowSteers,
  unmapLength,
  unmapErrors,
  unmapAll,
  revokeKeepsIova,
  revokeReachesAll,
  lateDomain,
  freeDomain,
  detachStops,
  attachMoves,
  attachTakesAutomatic,
  copies,
  unknownInterconnect,
];
