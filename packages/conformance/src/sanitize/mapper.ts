import {
  type DmaAddr,
  type DmaDirection,
  type DmaMapper,
  hex,
  type IovaState,
  type PhysRange,
} from "@peerbar/core";
import type { Sanitizer } from "./sanitizer.js";

/** @internal A device's DMA API with the state of each IOVA followed: reserved, linked, freed (dma-iova R7, R8). */
export class WatchedMapper implements DmaMapper {
  readonly #inner: DmaMapper;
  readonly #name: string;
  readonly #sanitizer: Sanitizer;
  readonly #live = new Map<IovaState, bigint>();
  readonly #freed = new WeakSet<IovaState>();
  readonly #mapped = new Map<DmaAddr, bigint>();

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
      this.#live.set(state, 0n);
      this.#note(`reserve ${hex(size)} bytes at ${hex(state.address)}`);
    }
    return state;
  }

  link(state: IovaState, offset: bigint, range: PhysRange, direction: DmaDirection): void {
    this.#note(`link ${hex(range.length)} bytes at ${hex(state.address + offset)}`);
    this.#expectLive(state, "link");
    this.#inner.link(state, offset, range, direction);
    this.#live.set(state, (this.#live.get(state) ?? 0n) + range.length);
  }

  sync(state: IovaState, offset: bigint, length: bigint): void {
    this.#expectLive(state, "sync");
    this.#inner.sync(state, offset, length);
  }

  unlink(state: IovaState, offset: bigint, length: bigint): void {
    this.#note(`unlink ${hex(length)} bytes at ${hex(state.address + offset)}`);
    this.#expectLive(state, "unlink");
    this.#inner.unlink(state, offset, length);
    this.#live.set(state, (this.#live.get(state) ?? 0n) - length);
  }

  free(state: IovaState): void {
    this.#note(`free ${hex(state.address)}`);
    this.#end(state);
    this.#inner.free(state);
  }

  destroy(state: IovaState, mapped: bigint): void {
    this.#note(`destroy ${hex(state.address)}, ${hex(mapped)} bytes linked`);
    this.#end(state);
    this.#inner.destroy(state, mapped);
  }

  mapPhys(range: PhysRange, direction: DmaDirection): DmaAddr {
    const address = this.#inner.mapPhys(range, direction);
    this.#note(`map ${hex(range.length)} bytes at ${hex(address)}`);
    // A direct mapping is the physical address itself: several may share it.
    if (this.space === "iova") this.#mapped.set(address, range.length);
    return address;
  }

  unmapPhys(address: DmaAddr, length: bigint, direction: DmaDirection): void {
    this.#note(`unmap ${hex(length)} bytes at ${hex(address)}`);
    if (this.space === "iova") this.#expectMapped(address, length);
    this.#inner.unmapPhys(address, length, direction);
    this.#mapped.delete(address);
  }

  /** Reports what was taken and not given back. */
  reportLeaks(): void {
    for (const state of this.#live.keys()) {
      this.#report("iova-leaked", `${hex(state.size)} bytes at ${hex(state.address)} never freed`);
    }
    for (const [address, length] of this.#mapped) {
      this.#report("iova-leaked", `${hex(length)} bytes mapped at ${hex(address)} never unmapped`);
    }
  }

  #expectLive(state: IovaState, operation: string): void {
    if (this.#live.has(state)) return;
    this.#report("iova-used-after-free", `${operation} at ${hex(state.address)}, which was freed`);
  }

  #end(state: IovaState): void {
    if (this.#live.delete(state)) this.#freed.add(state);
    else if (this.#freed.has(state)) {
      this.#report("iova-freed-twice", `${hex(state.address)} was freed before`);
    }
  }

  #expectMapped(address: DmaAddr, length: bigint): void {
    const mapped = this.#mapped.get(address);
    if (mapped === undefined) {
      this.#report("unmap-never-mapped", `nothing is mapped at ${hex(address)}`);
    } else if (mapped !== length) {
      const message = `mapped ${hex(mapped)} bytes at ${hex(address)}, unmapped ${hex(length)}`;
      this.#report("unmap-mismatch", message);
    }
  }

  #note(operation: string): void {
    this.#sanitizer.note(this.#name, operation);
  }

  #report(defect: Parameters<Sanitizer["report"]>[0], message: string): void {
    this.#sanitizer.report(defect, this.#name, message);
  }
}
