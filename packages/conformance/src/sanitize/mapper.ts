import {
  type DmaAddr,
  type DmaDirection,
  type DmaMapper,
  hex,
  type IovaState,
  type PhysRange,
  type ScatterEntry,
} from "@peerbar/core";
import { IovaLinks } from "./iova-links.js";
import { PhysMappings } from "./phys-mappings.js";
import type { Sanitizer } from "./sanitizer.js";

/** @internal A device's DMA API with the state of each IOVA followed: reserved, linked, synced, freed (dma-iova R7 to R9). */
export class WatchedMapper implements DmaMapper {
  readonly #inner: DmaMapper;
  readonly #name: string;
  readonly #sanitizer: Sanitizer;
  readonly #live = new Map<IovaState, IovaLinks>();
  readonly #freed = new WeakSet<IovaState>();
  readonly #mapped = new PhysMappings();

  constructor(inner: DmaMapper, name: string, sanitizer: Sanitizer) {
    this.#inner = inner;
    this.#name = name;
    this.#sanitizer = sanitizer;
  }

  get space(): "bus" | "iova" {
    return this.#inner.space;
  }

  tryAllocIova(size: bigint): IovaState | undefined {
    const state = this.#inner.tryAllocIova(size);
    if (state !== undefined) {
      this.#live.set(state, new IovaLinks());
      this.#note(`reserve ${hex(size)} bytes at ${hex(state.address)}`);
    }
    return state;
  }

  link(state: IovaState, offset: bigint, range: PhysRange, direction: DmaDirection): void {
    const { length } = range;
    const where = `${hex(length)} bytes at ${hex(state.address + offset)}`;
    this.#note(`link ${where}`);
    const links = this.#linksOf(state, "link");
    if (links?.overlaps(offset, length) === true) {
      this.#report("iova-overlap", `${where} run into what is linked there`);
    }
    if (offset < 0n || offset + length > state.size) {
      const whole = `${hex(state.size)} bytes at ${hex(state.address)}`;
      this.#report("iova-out-of-range", `${where} leave the ${whole} that are reserved`);
    }
    this.#inner.link(state, offset, range, direction);
    links?.add(offset, length);
  }

  sync(state: IovaState, offset: bigint, length: bigint): void {
    const where = `${hex(length)} bytes at ${hex(state.address + offset)}`;
    this.#note(`sync ${where}`);
    const links = this.#linksOf(state, "sync");
    if (links?.sync(offset, length) === false) {
      this.#mismatch(`sync of ${where}`, links);
    }
    this.#inner.sync(state, offset, length);
  }

  unlink(state: IovaState, offset: bigint, length: bigint): void {
    const where = `${hex(length)} bytes at ${hex(state.address + offset)}`;
    this.#note(`unlink ${where}`);
    const links = this.#linksOf(state, "unlink");
    if (links?.isExact(offset, length) === false) this.#mismatch(`unlink of ${where}`, links);
    if (links !== undefined) this.#expectUnused(state.address + offset, length, "unlink");
    this.#inner.unlink(state, offset, length);
    links?.remove(offset, length);
  }

  free(state: IovaState): void {
    this.#note(`free ${hex(state.address)}`);
    this.#end(state, 0n, "free");
    this.#inner.free(state);
  }

  destroy(state: IovaState, mapped: bigint): void {
    this.#note(`destroy ${hex(state.address)}, ${hex(mapped)} bytes linked`);
    this.#end(state, mapped, "destroy");
    this.#inner.destroy(state, mapped);
  }

  mapPhys(range: PhysRange, direction: DmaDirection): DmaAddr {
    const address = this.#inner.mapPhys(range, direction);
    this.#note(`map ${hex(range.length)} bytes at ${hex(address)}`);
    this.#mapped.add(address, range.length, direction);
    return address;
  }

  unmapPhys(address: DmaAddr, length: bigint, direction: DmaDirection): void {
    this.#note(`unmap ${hex(length)} bytes at ${hex(address)}`);
    if (this.#expectMapped(address, length, direction))
      this.#expectUnused(address, length, "unmap");
    this.#inner.unmapPhys(address, length, direction);
    this.#mapped.remove(address, length, direction);
  }

  /** Bytes never synced in the reservations that these entries begin in. */
  unsynced(entries: readonly ScatterEntry[]): bigint {
    let bytes = 0n;
    for (const [{ address: base, size }, links] of this.#live) {
      const used = entries.some(({ address }) => address >= base && address < base + size);
      if (used) bytes += links.unsynced;
    }
    return bytes;
  }

  /** Reports what was taken and not given back. A direct mapping takes nothing (dma-iova R2). */
  reportLeaks(): void {
    for (const state of this.#live.keys()) {
      this.#report("iova-leaked", `${hex(state.size)} bytes at ${hex(state.address)} never freed`);
    }
    if (this.space === "bus") return;
    for (const [address, length] of this.#mapped) {
      this.#report("iova-leaked", `${hex(length)} bytes mapped at ${hex(address)} never unmapped`);
    }
  }

  #linksOf(state: IovaState, operation: string): IovaLinks | undefined {
    const links = this.#live.get(state);
    if (links === undefined) {
      const message = `${operation} at ${hex(state.address)}, which was freed`;
      this.#report("iova-used-after-free", message);
    }
    return links;
  }

  #end(state: IovaState, mapped: bigint, operation: string): void {
    const links = this.#live.get(state);
    if (links === undefined) {
      if (!this.#freed.has(state)) return;
      this.#report("iova-freed-twice", `${hex(state.address)} was freed before`);
      return;
    }
    if (links.total !== mapped || !links.isExact(0n, mapped)) {
      this.#mismatch(`${operation} of ${hex(mapped)} bytes at ${hex(state.address)}`, links);
    }
    this.#expectUnused(state.address, state.size, operation);
    this.#live.delete(state);
    this.#freed.add(state);
  }

  /** A range that belongs to a mapping which is not being ended (dma-buf R24). */
  #expectUnused(address: bigint, length: bigint, operation: string): void {
    if (this.space === "bus" || length === 0n) return;
    const user = this.#sanitizer.userOf(this, address, length);
    if (user === undefined) return;
    const message = `${operation} of ${hex(length)} bytes at ${hex(address)}, which ${user} has mapped`;
    this.#report("iova-freed-in-use", message);
  }

  /** Address, length and direction as mapped (dma-buf R25, known-bugs B57). */
  #expectMapped(address: DmaAddr, length: bigint, direction: DmaDirection): boolean {
    const mapped = this.#mapped.at(address, length, direction);
    if (mapped?.length === length && mapped.direction === direction) return true;
    if (mapped === undefined) {
      this.#report("unmap-never-mapped", `nothing is mapped at ${hex(address)}`);
    } else {
      const message =
        mapped.length === length
          ? `mapped ${mapped.direction} at ${hex(address)}, unmapped ${direction}`
          : `mapped ${hex(mapped.length)} bytes at ${hex(address)}, unmapped ${hex(length)}`;
      this.#report("unmap-mismatch", message);
    }
    return false;
  }

  #mismatch(what: string, links: IovaLinks): void {
    this.#report("iova-length-mismatch", `${what}, where ${hex(links.total)} bytes are linked`);
  }

  #note(operation: string): void {
    this.#sanitizer.note(this.#name, operation);
  }

  #report(defect: Parameters<Sanitizer["report"]>[0], message: string): void {
    this.#sanitizer.report(defect, this.#name, message);
  }
}
