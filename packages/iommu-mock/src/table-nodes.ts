/** Grows a typed array to at least `length` elements: by half while small, by an eighth once it is large. */
export function grown(length: number, current: number): number {
  const step = current < 1 << 19 ? current >> 1 : current >> 3;
  return Math.max(length, current + step);
}

/** Words of 32 bits that hold one bit for each of the 512 entries of a page. */
const WORDS = 16;

/**
 * The pages of one page table: 512 doubles each, in one pool, and two bits an entry. One says whether the entry counts, the other whether
 * it is joined to the one before: then it holds the same, and only the first of such a run is written. So to map or unmap a run costs a few
 * words of bits, whatever its length.
 *
 * A "slot" is the number of an entry in the pool. Number 0 of the pages is never used, so it can stand for "none". Where two slots are
 * given they lie in one page, and the second is one past the last.
 */
export class TableNodes {
  entries = new Float64Array(4 * 512);
  /** Bit `slot & 31` of word `slot >>> 5`: the entry is in use. */
  used = new Int32Array(4 * WORDS);
  /** The same for: joined to the one before. Clear where the entry is not in use. */
  joined = new Int32Array(4 * WORDS);
  /** Slot that points to the page; while the page is free, the next free one. */
  parents = new Uint32Array(4);
  /** Pages taken. */
  taken = 0;
  #next = 1;
  #free = 0;

  /** A page with no entry in use. */
  take(): number {
    this.taken += 1;
    const node = this.#free;
    if (node !== 0) {
      this.#free = this.parents[node] ?? 0;
      return node;
    }
    if (this.#next === this.parents.length) this.#growPool();
    return this.#next++;
  }

  /** Takes back a page with no entry in use. */
  give(node: number): void {
    this.taken -= 1;
    this.parents[node] = this.#free;
    this.#free = node;
  }

  clear(): void {
    this.entries = new Float64Array(0);
    this.used = new Int32Array(0);
    this.joined = new Int32Array(0);
    this.parents = new Uint32Array(0);
    this.taken = 0;
  }

  has(slot: number): boolean {
    return (((this.used[slot >>> 5] ?? 0) >>> (slot & 31)) & 1) !== 0;
  }

  isEmpty(node: number): boolean {
    const { used } = this;
    const end = node * WORDS + WORDS;
    for (let word = node * WORDS; word < end; word++) if (used[word] !== 0) return false;
    return true;
  }

  /** The entry at a slot in use. */
  entryAt(slot: number): number {
    const { joined } = this;
    let word = slot >>> 5;
    let heads = ~(joined[word] ?? 0) & (-1 >>> (31 - (slot & 31)));
    while (heads === 0) {
      word -= 1;
      heads = ~(joined[word] ?? 0);
    }
    return this.entries[word * 32 + 31 - Math.clz32(heads)] ?? 0;
  }

  /** First slot in use; `to` where there is none. */
  firstUsed(from: number, to: number): number {
    return firstSet(this.used, from, to, 0);
  }

  /** First slot not in use; `to` where there is none. */
  firstFree(from: number, to: number): number {
    return firstSet(this.used, from, to, -1);
  }

  /** First slot after `from` that is not in use or does not hold the same; `to` where there is none. */
  runOf(from: number, to: number): number {
    const value = this.entryAt(from);
    let slot = from;
    do {
      slot = slot + 1 < to ? firstSet(this.joined, slot + 1, to, -1) : to;
    } while (slot < to && this.has(slot) && this.entries[slot] === value);
    return slot;
  }

  /** First slot after `from` that is not in use or points to a table, above the lowest level; `to` where there is none. */
  leavesFrom(from: number, to: number): number {
    const { entries } = this;
    const end = firstSet(this.used, from, to, -1);
    let slot = from + 1;
    while (slot < end && ((entries[slot] ?? 0) & 1) === 0) slot += 1;
    return slot;
  }

  /** Sets an entry that is not in use; false where it is. */
  put(slot: number, value: number): boolean {
    const { used } = this;
    const bits = used[slot >>> 5] ?? 0;
    const bit = 1 << (slot & 31);
    if ((bits & bit) !== 0) return false;
    used[slot >>> 5] = bits | bit;
    this.entries[slot] = value;
    return true;
  }

  /** Sets entries that are not in use, each by itself: for pages above the lowest, which are walked through entry by entry. */
  fillEach(from: number, to: number, value: number): void {
    this.entries.fill(value, from, to);
    setBits(this.used, from, to);
  }

  /** Sets entries that are not in use, as one run. */
  fill(from: number, to: number, value: number): void {
    this.entries[from] = value;
    setBits(this.used, from, to);
    if (from + 1 < to) setBits(this.joined, from + 1, to);
  }

  /** Takes one entry out of use. */
  releaseOne(slot: number): void {
    const word = slot >>> 5;
    const at = slot & 31;
    // Neither joined to the one before nor the one after to it: nearly always so.
    if (at < 31 && (((this.joined[word] ?? 0) >>> at) & 3) === 0) {
      this.used[word] = (this.used[word] ?? 0) & ~(1 << at);
    } else this.release(slot, slot + 1);
  }

  /** Takes entries out of use. What was joined to the last of them becomes a run of its own. */
  release(from: number, to: number): void {
    const { joined } = this;
    let cut = to;
    if ((to & 511) !== 0 && (((joined[to >>> 5] ?? 0) >>> (to & 31)) & 1) !== 0) {
      this.entries[to] = this.entryAt(to);
      cut = to + 1;
    }
    clearBits(this.used, from, to);
    clearBits(joined, from, cut);
  }

  #growPool(): void {
    const nodes = Math.ceil(grown((this.#next + 1) * 512, this.#next * 512) / 512);
    const entries = new Float64Array(nodes * 512);
    entries.set(this.entries);
    const used = new Int32Array(nodes * WORDS);
    used.set(this.used);
    const joined = new Int32Array(nodes * WORDS);
    joined.set(this.joined);
    const parents = new Uint32Array(nodes);
    parents.set(this.parents);
    this.entries = entries;
    this.used = used;
    this.joined = joined;
    this.parents = parents;
  }
}

/** First bit set after all bits are flipped as `flip` says; `to` where there is none. */
function firstSet(bits: Int32Array, from: number, to: number, flip: 0 | -1): number {
  const last = (to - 1) >>> 5;
  let mask = -1 << (from & 31);
  for (let word = from >>> 5; word <= last; word++) {
    const found = ((bits[word] ?? 0) ^ flip) & mask;
    if (found !== 0) {
      return Math.min(to, word * 32 + 31 - Math.clz32(found & -found));
    }
    mask = -1;
  }
  return to;
}

function setBits(bits: Int32Array, from: number, to: number): void {
  const last = (to - 1) >>> 5;
  let mask = -1 << (from & 31);
  for (let word = from >>> 5; word < last; word++) {
    bits[word] = (bits[word] ?? 0) | mask;
    mask = -1;
  }
  bits[last] = (bits[last] ?? 0) | (mask & (-1 >>> (31 - ((to - 1) & 31))));
}

function clearBits(bits: Int32Array, from: number, to: number): void {
  const last = (to - 1) >>> 5;
  let mask = -1 << (from & 31);
  for (let word = from >>> 5; word < last; word++) {
    bits[word] = (bits[word] ?? 0) & ~mask;
    mask = -1;
  }
  bits[last] = (bits[last] ?? 0) & ~(mask & (-1 >>> (31 - ((to - 1) & 31))));
}
