import { DmaBufError, hex } from "@peerbar/core";

/**
 * IOVAs of mappings that were taken out of the kernel on a revoke and are not unmapped yet. iommufd keeps such IOVAs occupied itself where
 * the exporter revokes (iommufd R16); for all other buffers that is done here.
 */
export class Tombstones {
  /** IOVA to length, both in bytes. */
  readonly #lengths = new Map<bigint, bigint>();

  get size(): number {
    return this.#lengths.size;
  }

  add(iova: bigint, length: bigint): void {
    this.#lengths.set(iova, length);
  }

  /** True where some byte of the stretch is occupied. */
  covers(iova: bigint, length: bigint): boolean {
    for (const [at, bytes] of this.#lengths) {
      if (at < iova + length && iova < at + bytes) return true;
    }
    return false;
  }

  /** @throws DmaBufError EEXIST where the stretch is occupied. */
  assertFree(iova: bigint, length: bigint, syscall: string): void {
    if (!this.covers(iova, length)) return;
    throw new DmaBufError("EEXIST", syscall, `a revoked mapping occupies IOVA ${hex(iova)}`, {
      hint: "unmap it first",
      rule: "iommufd M17, R16",
    });
  }

  /**
   * Frees those inside the stretch and returns their bytes.
   *
   * @throws DmaBufError ENOENT where one is only partly inside; nothing is freed.
   */
  take(iova: bigint, length: bigint, syscall: string): bigint {
    const inside: bigint[] = [];
    for (const [at, bytes] of this.#lengths) {
      if (at >= iova + length || at + bytes <= iova) continue;
      if (at < iova || at + bytes > iova + length) {
        throw new DmaBufError("ENOENT", syscall, "a mapping is only partly inside", {
          hint: "unmap whole mappings",
          rule: "iommufd R23",
        });
      }
      inside.push(at);
    }
    let freed = 0n;
    for (const at of inside) {
      freed += this.#lengths.get(at) ?? 0n;
      this.#lengths.delete(at);
    }
    return freed;
  }
}
