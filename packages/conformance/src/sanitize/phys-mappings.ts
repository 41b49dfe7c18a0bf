import type { DmaAddr } from "@peerbar/core";

/** @internal Ranges mapped one by one, by address. A direct mapping is the physical address itself: several may share it (dma-iova R2). */
export class PhysMappings implements Iterable<[DmaAddr, bigint]> {
  readonly #lengths = new Map<DmaAddr, bigint[]>();

  add(address: DmaAddr, length: bigint): void {
    const lengths = this.#lengths.get(address);
    if (lengths === undefined) this.#lengths.set(address, [length]);
    else lengths.push(length);
  }

  /** `length` where that is mapped there, else what is; undefined where nothing is. */
  lengthAt(address: DmaAddr, length: bigint): bigint | undefined {
    const lengths = this.#lengths.get(address);
    return lengths?.includes(length) === true ? length : lengths?.[0];
  }

  /** One mapping there is gone: that of this length, or the first. */
  remove(address: DmaAddr, length: bigint): void {
    const lengths = this.#lengths.get(address);
    if (lengths === undefined) return;
    lengths.splice(Math.max(lengths.indexOf(length), 0), 1);
    if (lengths.length === 0) this.#lengths.delete(address);
  }

  *[Symbol.iterator](): Iterator<[DmaAddr, bigint]> {
    for (const [address, lengths] of this.#lengths) {
      for (const length of lengths) yield [address, length];
    }
  }
}
