import { DmaBufError, type ObjectWatch } from "@peerbar/core";

/** Indexes a device has for memory keys, by default: 24 bits, as on mlx5 and irdma. */
export const KEY_INDEXES = 1 << 24;

/**
 * Memory keys of one device: 24 bits of index, and 8 bits that change each time an index is used again. The index freed last is taken first,
 * which is hardest on whoever keeps a stale key; the kernel's drivers leave the choice to the hardware or to chance. A key stays taken until
 * its region is deregistered, however dead the region is (rdma-umem R17, known-bugs B33).
 */
export class KeyTable<T> {
  readonly #limit: number;
  readonly #watch: ObjectWatch | undefined;
  readonly #owners = new Map<number, { readonly key: number; readonly owner: T }>();
  readonly #variants = new Map<number, number>();
  readonly #freed: number[] = [];
  #next = 1;

  /** @param watch - told of every use: work requests look keys up without a lock. */
  constructor(limit = KEY_INDEXES, watch?: ObjectWatch) {
    this.#limit = limit;
    this.#watch = watch;
  }

  get size(): number {
    return this.#owners.size;
  }

  /** A key for `owner`. @throws DmaBufError ENOMEM where every index is taken. */
  add(owner: T): number {
    this.#watch?.touch(true);
    const index = this.#takeIndex();
    const variant = this.#variants.get(index) ?? 0;
    const key = ((index << 8) | variant) >>> 0;
    this.#owners.set(index, { key, owner });
    return key;
  }

  /** Whose key it is; undefined for a key that is free, or whose variant is of another time. */
  get(key: number): T | undefined {
    this.#watch?.touch(false);
    const entry = this.#owners.get(key >>> 8);
    return entry?.key === key ? entry.owner : undefined;
  }

  /** Makes the key's index free for another region, under another key. */
  remove(key: number): void {
    this.#watch?.touch(true);
    const index = key >>> 8;
    if (this.#owners.get(index)?.key !== key) return;
    this.#owners.delete(index);
    this.#variants.set(index, ((key & 0xff) + 1) & 0xff);
    this.#freed.push(index);
  }

  #takeIndex(): number {
    const freed = this.#freed.pop();
    if (freed !== undefined) return freed;
    if (this.#next >= this.#limit) {
      throw new DmaBufError("ENOMEM", "rdma.regMr", `all ${this.#limit} memory keys are taken`, {
        hint: "deregister regions, revoked ones too",
      });
    }
    return this.#next++;
  }
}
