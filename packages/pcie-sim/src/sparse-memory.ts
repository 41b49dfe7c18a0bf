import type { MemoryWatch } from "./memory-watch.js";

/** log2 of the unit of allocation: 64 KiB, sixteen pages. */
const CHUNK_SHIFT = 16;
const CHUNK_BYTES = 1 << CHUNK_SHIFT;
const CHUNK_MASK = CHUNK_BYTES - 1;
const PAGE_SHIFT = 12;
const PAGES_PER_CHUNK = CHUNK_BYTES >> PAGE_SHIFT;
/** Up to here a loop is cheaper than a view of the source. */
const FEW = 64;

interface Chunk {
  readonly bytes: Uint8Array;
  /** One bit for each page written since the last {@link SparseMemory.clean}. */
  dirty: number;
}

/** One allocated piece: what a saved machine keeps. */
export interface MemoryPiece {
  /** Bytes from the start of the memory. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * Memory that costs only what is touched: a BAR of 256 GiB is an empty map until somebody writes. Untouched bytes read as zero.
 * Offsets are bytes as plain numbers, exact up to 2^53. Callers keep within {@link size}; nothing here checks again.
 */
export class SparseMemory {
  /** Bytes. */
  readonly size: number;
  readonly #chunks = new Map<number, Chunk>();
  /** What was touched last: devices write in streaks. */
  #lastIndex = -1;
  #last: Chunk | undefined;
  readonly #watch: MemoryWatch | undefined;

  /** @param size - bytes; all zero, and costing nothing before they are written */
  constructor(size: number, watch?: MemoryWatch) {
    this.size = size;
    this.#watch = watch;
  }

  /** Bytes that are really allocated. */
  get allocated(): number {
    this.#watch?.all();
    return this.#chunks.size * CHUNK_BYTES;
  }

  /** Copies `length` bytes at `offset` to `into`, from its index `start` on. */
  read(offset: number, into: Uint8Array, start: number, length: number): void {
    this.#tell(offset, length, false);
    let at = offset;
    let to = start;
    const end = start + length;
    while (to < end) {
      const within = at % CHUNK_BYTES;
      const now = Math.min(CHUNK_BYTES - within, end - to);
      const chunk = this.#chunks.get(Math.floor(at / CHUNK_BYTES));
      if (chunk === undefined) into.fill(0, to, to + now);
      else into.set(chunk.bytes.subarray(within, within + now), to);
      at += now;
      to += now;
    }
  }

  /** Copies `length` bytes of `from`, from its index `start` on, to `offset`. */
  write(offset: number, from: Uint8Array, start: number, length: number): void {
    this.#tell(offset, length, true);
    let at = offset;
    let source = start;
    const end = start + length;
    while (source < end) {
      const within = at % CHUNK_BYTES;
      const now = Math.min(CHUNK_BYTES - within, end - source);
      const chunk = this.#touch(Math.floor(at / CHUNK_BYTES), within, now);
      if (now > FEW) chunk.bytes.set(from.subarray(source, source + now), within);
      else for (let i = 0; i < now; i++) chunk.bytes[within + i] = from[source + i] ?? 0;
      at += now;
      source += now;
    }
  }

  /** Copies `length` bytes of another memory (or of this one; overlapping stretches then end as a device's chunked copy leaves them). */
  copyFrom(source: SparseMemory, sourceOffset: number, offset: number, length: number): void {
    source.#tell(sourceOffset, length, false);
    this.#tell(offset, length, true);
    let from = sourceOffset;
    let to = offset;
    let left = length;
    while (left > 0) {
      const fromWithin = from % CHUNK_BYTES;
      const toWithin = to % CHUNK_BYTES;
      const now = Math.min(CHUNK_BYTES - fromWithin, CHUNK_BYTES - toWithin, left);
      const chunk = source.#chunks.get(Math.floor(from / CHUNK_BYTES));
      const target = this.#touch(Math.floor(to / CHUNK_BYTES), toWithin, now);
      if (chunk === undefined) target.bytes.fill(0, toWithin, toWithin + now);
      else target.bytes.set(chunk.bytes.subarray(fromWithin, fromWithin + now), toWithin);
      from += now;
      to += now;
      left -= now;
    }
  }

  /** Exclusive-ors one byte: how a corrupting host bridge spoils a line. */
  flip(offset: number, mask: number): void {
    this.#tell(offset, 1, true);
    const within = offset % CHUNK_BYTES;
    const chunk = this.#touch(Math.floor(offset / CHUNK_BYTES), within, 1);
    chunk.bytes[within] = (chunk.bytes[within] ?? 0) ^ mask;
  }

  /** Forgets everything: all bytes are zero, no page is dirty. */
  clear(): void {
    this.#watch?.all();
    this.#chunks.clear();
    this.#lastIndex = -1;
    this.#last = undefined;
  }

  /** Pages written since the start or the last {@link clean}, ascending, as page numbers from the start of the memory. */
  dirtyPages(): number[] {
    this.#watch?.all();
    const pages: number[] = [];
    for (const [index, chunk] of this.#chunks) {
      for (let page = 0; page < PAGES_PER_CHUNK; page++) {
        if ((chunk.dirty & (1 << page)) !== 0) pages.push(index * PAGES_PER_CHUNK + page);
      }
    }
    return pages.sort((a, b) => a - b);
  }

  /** Marks every page as not written; the bytes stay. */
  clean(): void {
    this.#watch?.all();
    for (const chunk of this.#chunks.values()) chunk.dirty = 0;
  }

  /** Allocated pieces that hold anything but zeros, ascending. Views of the memory itself: copy before the next write. */
  pieces(): MemoryPiece[] {
    this.#watch?.all();
    return [...this.#chunks]
      .filter(([, chunk]) => chunk.bytes.some((byte) => byte !== 0))
      .sort(([a], [b]) => a - b)
      .map(([index, chunk]) => ({ offset: index * CHUNK_BYTES, bytes: chunk.bytes }));
  }

  /** 32-bit FNV-1a of the contents. Equal contents give equal sums, however they were allocated. */
  checksum(): number {
    let sum = 0x811c9dc5;
    for (const { offset, bytes } of this.pieces()) {
      sum = mix(mix(sum, offset % 0x1_0000_0000), Math.floor(offset / 0x1_0000_0000));
      for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193);
    }
    return sum >>> 0;
  }

  #tell(offset: number, length: number, writes: boolean): void {
    if (this.#watch === undefined || length <= 0) return;
    const last = Math.floor((offset + length - 1) / CHUNK_BYTES);
    this.#watch.pieces(Math.floor(offset / CHUNK_BYTES), last, writes);
  }

  #touch(index: number, within: number, length: number): Chunk {
    let chunk = index === this.#lastIndex ? this.#last : this.#chunks.get(index);
    if (chunk === undefined) {
      chunk = { bytes: new Uint8Array(CHUNK_BYTES), dirty: 0 };
      this.#chunks.set(index, chunk);
    }
    this.#lastIndex = index;
    this.#last = chunk;
    const first = within >>> PAGE_SHIFT;
    const last = ((within + length - 1) & CHUNK_MASK) >>> PAGE_SHIFT;
    // Bits first to last, both included.
    chunk.dirty |= (2 << last) - (1 << first);
    return chunk;
  }
}

function mix(sum: number, value: number): number {
  return Math.imul(sum ^ value, 0x01000193);
}
