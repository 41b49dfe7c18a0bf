import type { DmaAddr, DmaDirection } from "@peerbar/core";

interface PhysMapping {
  readonly length: bigint;
  readonly direction: DmaDirection;
}

/** @internal Ranges mapped one by one, by address. A direct mapping is the physical address itself: several may share it (dma-iova R2). */
export class PhysMappings implements Iterable<[DmaAddr, bigint]> {
  readonly #mappings = new Map<DmaAddr, PhysMapping[]>();

  add(address: DmaAddr, length: bigint, direction: DmaDirection): void {
    const there = this.#mappings.get(address);
    if (there === undefined) this.#mappings.set(address, [{ length, direction }]);
    else there.push({ length, direction });
  }

  /** The mapping there that fits best: in length and direction, in length, or any; undefined where nothing is. */
  at(address: DmaAddr, length: bigint, direction: DmaDirection): PhysMapping | undefined {
    const there = this.#mappings.get(address) ?? [];
    return (
      there.find((one) => one.length === length && one.direction === direction) ??
      there.find((one) => one.length === length) ??
      there[0]
    );
  }

  /** One mapping there is gone: the one that {@link at} finds. */
  remove(address: DmaAddr, length: bigint, direction: DmaDirection): void {
    const there = this.#mappings.get(address);
    const gone = this.at(address, length, direction);
    if (there === undefined || gone === undefined) return;
    there.splice(there.indexOf(gone), 1);
    if (there.length === 0) this.#mappings.delete(address);
  }

  *[Symbol.iterator](): Iterator<[DmaAddr, bigint]> {
    for (const [address, there] of this.#mappings) {
      for (const { length } of there) yield [address, length];
    }
  }
}
