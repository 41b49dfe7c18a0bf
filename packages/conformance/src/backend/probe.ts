import {
  type AddressSpace,
  type DmaDevice,
  fromPfn,
  type IommuPort,
  type Iova,
  iova,
  type PhysRange,
  type ReservedRegion,
  toPfn,
} from "@peerbar/core";
import { ConformanceFailure, check, equal } from "../expect.js";
import type { BackendFixture } from "./fixture.js";

/** A device behind the backend, with the questions that cases ask about its accesses. */
export class BackendProbe {
  readonly device: DmaDevice;
  readonly port: IommuPort;
  readonly #out = { pfn: 0 };

  constructor(fixture: BackendFixture, name: string, reserved: readonly ReservedRegion[] = []) {
    if (fixture.connect === undefined) throw new ConformanceFailure("the fixture has no connect");
    const dmaMask = (1n << 64n) - 1n;
    this.port = fixture.connect({ name, isPci: true, dmaMask, reserved });
    this.device = { name, pciAddress: name, dmaMask, dma: this.port.dma };
  }

  /** Physical address that the device reaches at `address`; undefined where the IOMMU stops it. */
  target(address: bigint, write: boolean): bigint | undefined {
    const pages = this.port.translate(toPfn(address), 1, write, this.#out);
    return pages > 0 ? fromPfn(this.#out.pfn) : undefined;
  }

  /** @throws ConformanceFailure unless every page of `[address, +range.length)` reaches `range`, for reads and writes. */
  expectReaches(address: bigint, range: PhysRange, what: string): void {
    for (let at = 0n; at < range.length; at += 0x1000n) {
      for (const write of [false, true]) {
        equal(
          this.target(address + at, write),
          range.start + at,
          `${what}: ${write ? "write" : "read"} at offset 0x${at.toString(16)}`,
        );
      }
    }
  }

  /** @throws ConformanceFailure where an answer for `most` pages at once says another thing than one for each page. */
  expectRun(address: bigint, most: number, write: boolean): void {
    const what = `${write ? "write" : "read"} of ${String(most)} pages at 0x${address.toString(16)}`;
    const pages = this.port.translate(toPfn(address), most, write, this.#out);
    const { pfn } = this.#out;
    check(pages >= 0 && pages <= most, `${what}: ${String(pages)} pages translated`);
    if (pages === 0) equal(this.target(address, write), undefined, `${what}: its first page`);
    for (let i = 0; i < pages; i++) {
      const found = this.target(address + BigInt(i) * 0x1000n, write);
      equal(found, fromPfn(pfn + i), `${what}: page ${String(i)} of ${String(pages)}`);
    }
  }

  /** @throws ConformanceFailure where any page of the stretch is reached. */
  expectBlocked(address: bigint, length: bigint, what: string): void {
    for (let at = 0n; at < length; at += 0x1000n) {
      for (const write of [false, true]) {
        equal(
          this.target(address + at, write),
          undefined,
          `${what}: ${write ? "write" : "read"} at offset 0x${at.toString(16)}`,
        );
      }
    }
  }
}

/** Maps physical ranges whole, with the default request read and write. */
export function mapRanges(
  space: AddressSpace,
  ranges: readonly PhysRange[],
  request: { readonly iova?: Iova; readonly access?: "r" | "w" | "rw" } = {},
): ReturnType<AddressSpace["map"]> {
  const length = ranges.reduce((sum, range) => sum + range.length, 0n);
  return space.map("phys", ranges, {
    slice: { offset: 0n, length },
    access: request.access ?? "rw",
    iova: request.iova,
  });
}

/** Room that the cases with fixed IOVAs need, from where {@link somewhere} begins. */
const ROOM = 0xa0_0000n;

/** An IOVA well inside the first usable range of the space that has room: a page table may hold few megabytes. */
export function somewhere(space: AddressSpace, offset = 0n): Iova {
  for (const { first, last } of space.ranges) {
    const base = ((first < 0x10_0000n ? 0x10_0000n : first) + 0xfffffn) & ~0xfffffn;
    if (base + ROOM <= last) return iova(base + offset);
  }
  throw new ConformanceFailure("the address space has no usable range of 10 MiB");
}
