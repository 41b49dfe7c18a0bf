/** Entries at most: 2^20 of them take 12 MB, whatever the length of the exploration. */
const LARGEST = 1 << 20;
const SMALLEST = 1 << 12;
/** Slots looked at before one of them is given up. */
const PROBES = 16;

/**
 * States seen, each with a small number. Grows up to a fixed size; then older entries give way, which costs repeated work and no soundness.
 */
export class HashTable {
  #slots = SMALLEST;
  #keys = new Int32Array(SMALLEST * 2);
  /** The number plus one; 0 is a free slot. */
  #values = new Uint8Array(SMALLEST);
  #used = 0;
  #added = 0;
  #lossy = false;

  /** Entries ever added. Once {@link lossy}, some may have been counted again. */
  get added(): number {
    return this.#added;
  }

  /** True once entries had to give way. */
  get lossy(): boolean {
    return this.#lossy;
  }

  /** The number kept for that state; -1 where it is not known. */
  get(low: number, high: number): number {
    const at = this.#find(low, high);
    return at < 0 ? -1 : (this.#values[at] ?? 0) - 1;
  }

  /** Keeps `value`, from 0 to 254. True where the state was not known. */
  set(low: number, high: number, value: number): boolean {
    const known = this.#find(low, high);
    if (known >= 0) {
      this.#values[known] = value + 1;
      return false;
    }
    while (this.#slots < LARGEST && (this.#used * 2 > this.#slots || this.#crowded(low))) {
      this.#grow();
    }
    this.#put(low, high, value + 1);
    this.#added += 1;
    return true;
  }

  #find(low: number, high: number): number {
    const mask = this.#slots - 1;
    for (let probe = 0; probe < PROBES; probe++) {
      const at = (low + probe) & mask;
      if (this.#values[at] === 0) return -1;
      if (this.#keys[at * 2] === low && this.#keys[at * 2 + 1] === high) return at;
    }
    return -1;
  }

  /** Whether there is no free slot where that state belongs. */
  #crowded(low: number): boolean {
    const mask = this.#slots - 1;
    for (let probe = 0; probe < PROBES; probe++) {
      if (this.#values[(low + probe) & mask] === 0) return false;
    }
    return true;
  }

  #put(low: number, high: number, stored: number): void {
    const mask = this.#slots - 1;
    let at = low & mask;
    for (let probe = 0; probe < PROBES; probe++) {
      const next = (low + probe) & mask;
      if (this.#values[next] === 0) {
        at = next;
        this.#used += 1;
        break;
      }
      if (probe === PROBES - 1) {
        at = (low + ((high >>> 7) & (PROBES - 1))) & mask;
        this.#lossy = true;
      }
    }
    this.#keys[at * 2] = low;
    this.#keys[at * 2 + 1] = high;
    this.#values[at] = stored;
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#slots *= 2;
    this.#keys = new Int32Array(this.#slots * 2);
    this.#values = new Uint8Array(this.#slots);
    this.#used = 0;
    for (const [at, stored] of values.entries()) {
      if (stored > 0) this.#put(keys[at * 2] ?? 0, keys[at * 2 + 1] ?? 0, stored);
    }
  }
}
