import {
  type BusAddr,
  busAddr,
  DmaBufError,
  hex,
  type PciBar,
  type PhysAddr,
  physAddr,
} from "@peerbar/core";
import type { Span } from "./fabric/range-table.js";
import { spanOf } from "./fabric/range-table.js";
import type { PlacedBar } from "./layout/layout.js";
import type { MemoryWatch } from "./memory-watch.js";
import { SparseMemory } from "./sparse-memory.js";

/** Called after bytes arrived in a BAR from the fabric or the CPU: where device models have their registers and doorbells. */
export type BarWriteListener = (offset: number, length: number) => void;

/**
 * One memory BAR of a simulated function, and the memory behind it. `peek`, `poke` and the page list bypass the fabric: they are the
 * oracle of tests, and what the device itself does with its own memory.
 */
export class SimBar implements PciBar {
  readonly index: number;
  readonly kind = "memory";
  readonly start: PhysAddr;
  readonly busStart: BusAddr;
  readonly length: bigint;
  readonly is64Bit: boolean;
  readonly prefetchable: boolean;
  /** Contents. Costs only what is touched. */
  readonly memory: SparseMemory;
  /** At most one device model listens. */
  onWrite: BarWriteListener | undefined;
  #live: Span;

  /** @internal Made by `Machine`. */
  constructor(placed: PlacedBar, watch: MemoryWatch | undefined) {
    this.index = placed.index;
    this.start = physAddr(placed.cpu);
    this.busStart = busAddr(placed.bus);
    this.length = placed.length;
    this.is64Bit = placed.is64Bit;
    this.prefetchable = placed.prefetchable;
    this.memory = new SparseMemory(Number(placed.length), watch);
    this.#live = spanOf(placed.bus, placed.length);
  }

  /** Bus addresses that the register selects now: differs from {@link busStart} after a write to it, or a raw reset. */
  get live(): Span {
    return this.#live;
  }

  /** @internal The register was written. */
  relocate(bus: bigint): void {
    this.#live = spanOf(bus, this.length);
  }

  /** Copy of `length` bytes at `offset`. @throws DmaBufError EINVAL past the end. */
  peek(offset: bigint | number, length: number): Uint8Array {
    const at = this.#check(offset, length, "bar.peek");
    const bytes = new Uint8Array(length);
    this.memory.read(at, bytes, 0, length);
    return bytes;
  }

  /** @throws DmaBufError EINVAL past the end; nothing is written then. */
  poke(offset: bigint | number, bytes: Uint8Array): void {
    const at = this.#check(offset, bytes.length, "bar.poke");
    this.memory.write(at, bytes, 0, bytes.length);
  }

  /** Pages written since the start or the last {@link clean}, whoever wrote them; page numbers in the BAR, ascending. */
  dirtyPages(): number[] {
    return this.memory.dirtyPages();
  }

  /** Forgets which pages were written. */
  clean(): void {
    this.memory.clean();
  }

  /** 32-bit sum of the contents; equal contents give equal sums. */
  checksum(): number {
    return this.memory.checksum();
  }

  #check(offset: bigint | number, length: number, operation: string): number {
    const at = Number(offset);
    if (Number.isSafeInteger(at) && at >= 0 && at + length <= Number(this.length)) return at;
    throw new DmaBufError(
      "EINVAL",
      operation,
      `${String(length)} bytes at ${String(offset)} are not in BAR ${String(this.index)}, ${hex(this.length)} bytes`,
    );
  }
}
