import {
  DmaBufError,
  hex,
  type ObjectWatch,
  type PhysAddr,
  physAddr,
  type Scheduler,
} from "@peerbar/core";
import { type Aperture, alignUp, FOUR_GIB, MIB, sortSpans } from "./layout/layout.js";
import { watchMemory } from "./memory-watch.js";
import { SparseMemory } from "./sparse-memory.js";

/** A stretch of host memory: CPU physical, whole megabytes. */
export interface RamRange {
  /** First CPU physical address, in bytes. */
  readonly start: bigint;
  /** Bytes. */
  readonly length: bigint;
}

/** 2 GiB below, 64 GiB above 4 GiB, as on a common x86 server; what MMIO takes of it is left out. */
const DEFAULT_RAM: readonly RamRange[] = [
  { start: 0n, length: 0x8000_0000n },
  { start: FOUR_GIB, length: 0x10_0000_0000n },
];

/** Host RAM: untouched pages cost nothing. */
export class HostMemory {
  readonly ranges: readonly RamRange[];
  /** Contents by CPU physical address. */
  readonly memory: SparseMemory;
  /** @internal Where the next allocation begins to look. */
  next: bigint;
  /** Stands for {@link next}. */
  readonly #watch: ObjectWatch | undefined;

  /** @internal Made by `Machine`. */
  constructor(
    ranges: readonly RamRange[] | undefined,
    apertures: readonly Aperture[],
    scheduler: Scheduler,
  ) {
    this.memory = new SparseMemory(2 ** 52, watchMemory(scheduler, "host memory"));
    this.#watch = scheduler.watch?.object("host memory given out");
    this.ranges = without(ranges ?? DEFAULT_RAM, apertures);
    const above = this.ranges.find((range) => range.start >= FOUR_GIB) ?? this.ranges.at(-1);
    this.next = above?.start ?? 0n;
  }

  /**
   * Pages that nobody else was given, zeroed, for buffers and queues of drivers. There is no free: a machine is made for a test.
   *
   * @throws DmaBufError ENOMEM where no range has that much left.
   */
  allocate(bytes: number): PhysAddr {
    this.#watch?.touch(true);
    const size = alignUp(BigInt(bytes), 4096n);
    for (const range of this.ranges) {
      const end = range.start + range.length;
      if (end <= this.next) continue;
      let { start } = range;
      if (this.next > start) start = this.next;
      if (bytes > 0 && start + size <= end) {
        this.next = start + size;
        return physAddr(start);
      }
    }
    throw new DmaBufError(
      "ENOMEM",
      "ram.allocate",
      `no ${hex(size)} bytes of host memory are left`,
    );
  }

  /** Bytes at a CPU physical address, past the fabric. @throws DmaBufError EINVAL where there is no RAM. */
  peek(address: PhysAddr, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.memory.read(this.#check(address, length, "ram.peek"), bytes, 0, length);
    return bytes;
  }

  /** @throws DmaBufError EINVAL where there is no memory; nothing is written then. */
  poke(address: PhysAddr, bytes: Uint8Array): void {
    this.memory.write(this.#check(address, bytes.length, "ram.poke"), bytes, 0, bytes.length);
  }

  #check(address: PhysAddr, length: number, operation: string): number {
    const end = address + BigInt(length);
    const inside = this.ranges.some(
      ({ start, length: size }) => address >= start && end <= start + size,
    );
    if (inside) return Number(address);
    throw new DmaBufError("EINVAL", operation, `${hex(address)} is not host memory`);
  }
}

function without(ranges: readonly RamRange[], apertures: readonly Aperture[]): RamRange[] {
  const holes = sortSpans(
    apertures.map(({ cpu, length }) => ({
      first: cpu & ~(MIB - 1n),
      last: (cpu + length - 1n) | (MIB - 1n),
    })),
  );
  const left: RamRange[] = [];
  for (const { start, length } of sortRanges(ranges)) {
    const end = start + length;
    let at = start;
    for (const hole of holes) {
      if (hole.last < at || hole.first >= end) continue;
      if (hole.first > at) left.push({ start: at, length: hole.first - at });
      at = hole.last + 1n;
    }
    if (at < end) left.push({ start: at, length: end - at });
  }
  return left;
}

function sortRanges(ranges: readonly RamRange[]): RamRange[] {
  return [...ranges].sort((a, b) => (a.start < b.start ? -1 : 1));
}
