import { DmaBufError, type Iova, iova } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { markKernelRevoked } from "../src/buffers/kernel-revoked.js";
import { type AttachPoint, setAttachPoint } from "../src/iommufd/attach-point.js";
import type { IommufdCalls } from "../src/iommufd/iommufd-file.js";
import { NativeAddressSpace } from "../src/iommufd/native-address-space.js";

const PAGE = 0x1000n;
const slice = { offset: 0n, length: PAGE };

/** An iommufd that places at the lowest free page, as the kernel does, and says what it was asked. */
class FakeIommufd implements IommufdCalls {
  readonly mapped = new Map<bigint, bigint>();
  readonly destroyed: number[] = [];
  #ioas = 6;

  allocIoas = (): number => (this.#ioas += 1);
  allocHwpt = (): number => 9;
  allow = (): void => undefined;
  iovaSpace = () => ({ ranges: [], alignment: PAGE });
  destroy = (id: number): void => {
    this.destroyed.push(id);
  };

  mapFile({ slice: part, iova: fixed }: Parameters<IommufdCalls["mapFile"]>[0]): Iova {
    let at = fixed ?? PAGE;
    while (fixed === undefined && this.mapped.has(at)) at = iova(at + PAGE);
    if (this.mapped.has(at)) throw new DmaBufError("EEXIST", "IOMMU_IOAS_MAP_FILE", "occupied");
    this.mapped.set(at, part.length);
    return iova(at);
  }

  copy(
    _target: number,
    source: Parameters<IommufdCalls["copy"]>[1],
    request: Parameters<IommufdCalls["copy"]>[2],
  ): Iova {
    return this.mapFile({ ioas: 7, fd: 3, slice: source.slice, ...request });
  }

  unmap(_ioas: number, at: bigint, length: bigint): bigint {
    let bytes = 0n;
    for (const [start, size] of [...this.mapped]) {
      if (start < at || start + size > at + length) continue;
      this.mapped.delete(start);
      bytes += size;
    }
    if (bytes === 0n && length !== (1n << 64n) - 1n) {
      throw new DmaBufError("ENOENT", "IOMMU_IOAS_UNMAP", "nothing");
    }
    return bytes;
  }
}

function space(): { kernel: FakeIommufd; space: NativeAddressSpace } {
  const kernel = new FakeIommufd();
  return { kernel, space: new NativeAddressSpace(kernel, () => undefined) };
}

const map = (one: NativeAddressSpace, fd = 3, at?: Iova) =>
  one.map("fd", fd, { slice, access: "rw", iova: at });

describe("a revoke by an exporter that the kernel does not know", () => {
  it("takes the translation out at once and keeps the IOVA occupied (iommufd R14, R16, R19)", () => {
    const { kernel, space: one } = space();
    const mapping = map(one);
    mapping.revoke();
    mapping.revoke();
    expect(mapping.revoked).toBe(true);
    expect(kernel.mapped.size).toBe(0);
    expect(() => map(one, 3, mapping.iova)).toThrow(expect.objectContaining({ code: "EEXIST" }));
    expect(one.unmap(mapping.iova, PAGE)).toBe(PAGE);
    expect(map(one, 3, mapping.iova).iova).toBe(mapping.iova);
  });

  it("the kernel's own choice never lands on it, and nothing held meanwhile is left", () => {
    const { kernel, space: one } = space();
    const dead = [map(one), map(one)];
    for (const mapping of dead) mapping.revoke();
    const fresh = map(one);
    expect(dead.map(({ iova: at }) => at)).not.toContain(fresh.iova);
    expect([...kernel.mapped.keys()]).toEqual([fresh.iova]);
  });

  it("dead and live together unmap as one, a part of a dead one is ENOENT (iommufd R23)", () => {
    const { space: one } = space();
    const [first, second] = [map(one), map(one)];
    first.revoke();
    expect(() => one.unmap(first.iova, PAGE / 2n)).toThrow(
      expect.objectContaining({ code: "ENOENT" }),
    );
    expect(one.unmap(first.iova, 2n * PAGE)).toBe(2n * PAGE);
    expect(() => one.unmap(second.iova, PAGE)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    map(one).revoke();
    map(one);
    expect(one.unmapAll()).toBe(2n * PAGE);
    expect(one.unmapAll()).toBe(0n);
  });

  it("a late revoke of an unmapped mapping leaves its successor alone", () => {
    const { kernel, space: one } = space();
    const old = map(one);
    one.unmap(old.iova, PAGE);
    const next = map(one, 3, old.iova);
    old.revoke();
    expect([...kernel.mapped.keys()]).toEqual([next.iova]);
  });
});

describe("a revoke by an exporter of the kernel", () => {
  it("is recorded alone: the kernel takes out the translation and keeps the IOVA itself", () => {
    const { kernel, space: one } = space();
    const unmark = markKernelRevoked(5);
    const mapping = map(one, 5);
    const copied = one.copy(one, mapping.iova, PAGE, { access: "r" });
    mapping.revoke();
    copied.revoke();
    expect([mapping.revoked, copied.revoked]).toEqual([true, true]);
    expect(kernel.mapped.size).toBe(2);
    unmark();
  });
});

describe("a device that is attached while it is attached elsewhere", () => {
  /** The kernel's answers in order: ids of page tables. */
  function device(kernel: FakeIommufd, name: string, ...answers: number[]) {
    const detached: string[] = [];
    const point: AttachPoint = {
      file: kernel,
      id: 1,
      attach: (pt) => answers.shift() ?? pt,
      detach: () => void detached.push(name),
    };
    const one = { name, pciAddress: undefined, dmaMask: 0n };
    setAttachPoint(one, () => point);
    return { one, point, detached };
  }
  const listed = (...spaces: NativeAddressSpace[]) =>
    spaces.map(({ domains }) => domains.map(({ id, devices }) => [id, ...devices].join(" ")));

  it("moves inside an address space: an automatic page table ends with it, one of its own stays (iommufd R26)", () => {
    const { kernel, space: one } = space();
    const nic = device(kernel, "nic", 8, 9, 8);
    expect(one.attach(nic.one).id).toBe(8);
    const own = one.allocDomain(nic.one);
    one.attach(nic.one, own);
    expect(listed(one)).toEqual([["9 nic"]]);
    // The id is given out again.
    one.attach(nic.one);
    expect(listed(one)).toEqual([["9", "8 nic"]]);
    one.detach(nic.one);
    expect([listed(one), nic.detached]).toEqual([[["9"]], ["nic"]]);
    expect(() => {
      one.detach(nic.one);
    }).toThrow(expect.objectContaining({ code: "EINVAL" }));
  });

  it("moves between address spaces: the old one neither lists nor detaches it", () => {
    const { kernel, space: one } = space();
    const two = new NativeAddressSpace(kernel, () => undefined);
    const nic = device(kernel, "nic", 8, 10);
    const other = device(kernel, "other", 8);
    one.attach(nic.one);
    two.attach(nic.one);
    expect(listed(one, two)).toEqual([[], ["10 nic"]]);
    expect(() => {
      one.detach(nic.one);
    }).toThrow(expect.objectContaining({ code: "EINVAL" }));
    expect(one.attach(other.one).devices).toEqual(["other"]);
    one[Symbol.dispose]();
    expect([nic.detached, other.detached]).toEqual([[], ["other"]]);
    two.detach(nic.one);
    expect(nic.detached).toEqual(["nic"]);
  });

  it("one whose file was closed is detached already, and its page table's id may be another's", () => {
    const { kernel, space: one } = space();
    const gone = device(kernel, "gone", 8);
    const next = device(kernel, "next", 8);
    one.attach(gone.one);
    gone.point.place = undefined;
    expect(listed(one)).toEqual([[]]);
    expect(one.attach(next.one).devices).toEqual(["next"]);
    one.detach(gone.one);
    expect([gone.detached, listed(one)]).toEqual([[], [["8 next"]]]);
  });
});

describe("devices and ends", () => {
  it("a device that is not the kernel's, or another iommufd's, cannot be attached", () => {
    const { space: one } = space();
    const device = { name: "stranger", pciAddress: undefined, dmaMask: 0n };
    expect(() => one.attach(device)).toThrow(expect.objectContaining({ code: "ENODEV" }));
    const other = new FakeIommufd();
    setAttachPoint(device, () => ({
      file: other,
      id: 1,
      attach: () => 9,
      detach: () => undefined,
    }));
    expect(() => one.attach(device)).toThrow(expect.objectContaining({ code: "EINVAL" }));
  });

  it("ends with its page tables and is EBADF afterwards", () => {
    const { kernel, space: one } = space();
    const attached: number[] = [];
    const device = { name: "nic", pciAddress: undefined, dmaMask: 0n };
    setAttachPoint(device, () => ({
      file: kernel,
      id: 1,
      attach: (pt) => {
        attached.push(pt);
        return pt === 7 ? 8 : pt;
      },
      detach: () => {
        attached.push(-1);
      },
    }));
    const own = one.allocDomain(device);
    expect(one.attach(device, own).id).toBe(9);
    expect(one.domains.map(({ devices }) => devices)).toEqual([["nic"]]);
    const mapping = map(one);
    one[Symbol.dispose]();
    one[Symbol.dispose]();
    expect(attached).toEqual([9, -1]);
    expect(kernel.destroyed).toEqual([9, 7]);
    expect(kernel.mapped.size).toBe(0);
    for (const use of [
      () => map(one),
      () => one.unmap(mapping.iova, PAGE),
      () => one.attach(device),
      () => one.unmapAll(),
    ]) {
      expect(use).toThrow(expect.objectContaining({ code: "EBADF" }));
    }
    expect(() => map(space().space, 3).revoke()).not.toThrow();
  });

  it("loses a device that is attached elsewhere, as the kernel moves it, and does not detach it from there", () => {
    const kernel = new FakeIommufd();
    let ioas = 6;
    kernel.allocIoas = () => ++ioas;
    const [one, other] = [0, 1].map(() => new NativeAddressSpace(kernel, () => undefined));
    if (one === undefined || other === undefined) throw new Error("two address spaces");
    const attached: number[] = [];
    const device = { name: "nic", pciAddress: undefined, dmaMask: 0n };
    const point = {
      file: kernel,
      id: 1,
      // The kernel makes a page table of its own for an address space.
      attach: (pt: number) => {
        attached.push(pt);
        return pt + 100;
      },
      detach: () => {
        attached.push(-1);
      },
    };
    setAttachPoint(device, () => point);
    one.attach(device);
    expect(one.attach(device).devices).toEqual(["nic"]);
    expect(other.attach(device).devices).toEqual(["nic"]);
    expect(one.domains).toEqual([]);
    one[Symbol.dispose]();
    expect(attached).toEqual([7, 7, 8]);
    other.detach(device);
    expect([attached, other.domains]).toEqual([[7, 7, 8, -1], []]);
  });

  it("refuses what is no descriptor (iommufd M13)", () => {
    const { space: one } = space();
    expect(() => one.map("phys", [], { slice, access: "rw" })).toThrow(
      expect.objectContaining({ code: "EOPNOTSUPP" }),
    );
  });
});
