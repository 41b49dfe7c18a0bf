import {
  type DmaAddr,
  DmaBufError,
  type DmaDevice,
  type DmaDirection,
  type DmaMapper,
  type IovaState,
  type PhysRange,
} from "@peerbar/core";

/**
 * A device's DMA mapper under observation: counts what is taken and not given back, and can refuse the n-th call.
 * Given to the exporter in place of the device's own.
 */
export class MapperProbe implements DmaMapper {
  readonly #inner: DmaMapper;
  readonly #states = new Map<IovaState, bigint>();
  #mapped = 0;
  #calls = 0;
  /** Which of the calls that may fail (link, sync, map) does, counted from 1 after {@link failNth}; 0: none. */
  #failNth = 0;
  /** Whether {@link tryAllocIova} asks the device's own mapper; false: as one whose IOVA space is used up, or that has none. */
  grants = true;
  #directions: DmaDirection[] = [];

  /** @param inner - the device's own mapper, which does the work; the caller's */
  constructor(inner: DmaMapper) {
    this.#inner = inner;
  }

  get space(): "bus" | "iova" {
    return this.#inner.space;
  }

  /** IOVA reservations not given back. */
  get reservations(): number {
    return this.#states.size;
  }

  /** Range-by-range mappings not undone. */
  get mapped(): number {
    return this.#mapped;
  }

  /** Bytes linked into reservations and not unlinked. */
  get linked(): bigint {
    let sum = 0n;
    for (const bytes of this.#states.values()) sum += bytes;
    return sum;
  }

  /** Calls that could have failed since the last {@link failNth}. */
  get calls(): number {
    return this.#calls;
  }

  /** Directions of all links and range mappings since the last time, in order. */
  takeDirections(): readonly DmaDirection[] {
    const seen = this.#directions;
    this.#directions = [];
    return seen;
  }

  /** Refuses the `nth` such call from now; 0 ends it. */
  failNth(nth: number): void {
    this.#calls = 0;
    this.#failNth = nth;
  }

  /** True where nothing is held. */
  get isEmpty(): boolean {
    return this.#states.size === 0 && this.#mapped === 0;
  }

  tryAllocIova(size: bigint): IovaState | undefined {
    const state = this.grants ? this.#inner.tryAllocIova(size) : undefined;
    if (state !== undefined) this.#states.set(state, 0n);
    return state;
  }

  link(state: IovaState, offset: bigint, range: PhysRange, direction: DmaDirection): void {
    this.#maybeFail("EADDRINUSE", "dma.link");
    this.#directions.push(direction);
    this.#inner.link(state, offset, range, direction);
    this.#states.set(state, (this.#states.get(state) ?? 0n) + range.length);
  }

  /** Counts, and hands on. */
  sync(state: IovaState, offset: bigint, length: bigint): void {
    this.#maybeFail("EIO", "dma.sync");
    this.#inner.sync(state, offset, length);
  }

  unlink(state: IovaState, offset: bigint, length: bigint): void {
    this.#inner.unlink(state, offset, length);
    this.#states.set(state, (this.#states.get(state) ?? 0n) - length);
  }

  free(state: IovaState): void {
    this.#inner.free(state);
    this.#states.delete(state);
  }

  destroy(state: IovaState, mapped: bigint): void {
    this.#inner.destroy(state, mapped);
    this.#states.delete(state);
  }

  mapPhys(range: PhysRange, direction: DmaDirection): DmaAddr {
    this.#maybeFail("ENOMEM", "dma.mapPhys");
    this.#directions.push(direction);
    const address = this.#inner.mapPhys(range, direction);
    this.#mapped += 1;
    return address;
  }

  /** Counts, and hands on. */
  unmapPhys(address: DmaAddr, length: bigint, direction: DmaDirection): void {
    this.#directions.push(direction);
    this.#inner.unmapPhys(address, length, direction);
    this.#mapped -= 1;
  }

  #maybeFail(code: "EADDRINUSE" | "EIO" | "ENOMEM", syscall: string): void {
    this.#calls += 1;
    if (this.#calls === this.#failNth) {
      throw new DmaBufError(code, syscall, "refused by the conformance suite");
    }
  }
}

/** `device` with its mapper under observation; the device itself and no probe where it has no mapper. */
export function probeDevice(device: DmaDevice): {
  readonly device: DmaDevice;
  readonly probe: MapperProbe | undefined;
} {
  const { dma, name, pciAddress, dmaMask, engine } = device;
  if (dma === undefined) return { device, probe: undefined };
  const probe = new MapperProbe(dma);
  const probed: DmaDevice = { name, pciAddress, dmaMask, dma: probe };
  return { device: engine === undefined ? probed : { ...probed, engine }, probe };
}
