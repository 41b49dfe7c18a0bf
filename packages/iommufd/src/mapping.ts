import { asyncDispose, type Iova, iova as toIova } from "@peerbar/core";
import type { Area } from "./area.js";

/** How a mapping ends: given by its address space. */
export type UnmapAreas = (areas: readonly Area[]) => Promise<bigint>;

/**
 * A mapped stretch of an address space, owned by whoever mapped it. It keeps the buffer alive until it is unmapped (iommufd R12).
 */
export class IoasMapping implements AsyncDisposable {
  /** First IOVA, in bytes; taken until the area is unmapped, revoked or not (iommufd R16). */
  readonly iova: Iova;
  /** Bytes. */
  readonly length: bigint;
  readonly #areas: readonly Area[];
  readonly #unmap: UnmapAreas;

  /** @internal Made by {@link Ioas}. */
  constructor(areas: readonly Area[], unmap: UnmapAreas) {
    this.iova = toIova(areas[0]?.iova ?? 0n);
    this.length = areas.reduce((sum, area) => sum + area.length, 0n);
    this.#areas = areas;
    this.#unmap = unmap;
  }

  /** True once the exporter took some of it back: DMA there faults, the IOVA stays occupied (iommufd R16, R19). */
  get revoked(): boolean {
    return this.#areas.some((area) => area.revoked);
  }

  /** False once unmapped, here or by the address space. */
  get mapped(): boolean {
    return this.#areas.some((area) => area.live);
  }

  /**
   * Unmaps what is still mapped and returns its bytes: the full length also after a revoke (iommufd R16), 0 the second time.
   * Waits for the buffer's reservation.
   */
  unmap(): Promise<bigint> {
    return this.#unmap(this.#areas);
  }

  async [asyncDispose](): Promise<void> {
    await this.unmap();
  }
}
