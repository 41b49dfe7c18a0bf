import type { PhysRange } from "./address.js";
import { DmaBufError } from "./error.js";
import type { ScatterTable } from "./scatter-table.js";

/**
 * Ways a buffer can be handed to an importer, and what each carries. Third parties add theirs by declaration merging:
 *
 * ```ts
 * declare module "@peerbar/core" {
 *   interface Interconnects { token: string }
 * }
 * ```
 */
export interface Interconnects {
  /** DMA addresses for the importing device. */
  sgt: ScatterTable;
  /** CPU physical ranges, without a DMA mapping: what iommufd asks vfio-pci for. */
  phys: readonly PhysRange[];
  /** A real dma-buf file descriptor; the kernel does the rest. */
  fd: number;
}

/** One of {@link Interconnects}, those of third parties included. */
export type InterconnectName = keyof Interconnects;
/** All but `sgt`, which goes through map and unmap. */
export type OpenInterconnectName = Exclude<InterconnectName, "sgt">;

/**
 * The first of the importer's list that the exporter offers.
 *
 * @throws DmaBufError EOPNOTSUPP naming both lists.
 */
export function agree<N extends InterconnectName>(
  accepts: readonly N[],
  offers: readonly InterconnectName[],
  syscall: string,
): N {
  for (const name of accepts) if (offers.includes(name)) return name;
  throw new DmaBufError(
    "EOPNOTSUPP",
    syscall,
    `no common interconnect: the importer accepts [${accepts.join(", ")}], the exporter offers [${offers.join(", ")}]`,
    { hint: "use an exporter that offers, or an importer that accepts, one of the other's list" },
  );
}
