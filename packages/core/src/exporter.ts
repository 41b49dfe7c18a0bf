import type { Slice } from "./address.js";
import type { Attachment } from "./attachment.js";
import type { CpuView } from "./cpu-view.js";
import type { DmaDirection } from "./dma-device.js";
import type { InterconnectName, Interconnects, OpenInterconnectName } from "./interconnect.js";
import type { Held } from "./reservation.js";
import type { ScatterTable } from "./scatter-table.js";

/**
 * What an exporter implements (`struct dma_buf_ops`). `offers`, `attach`, `detach`, `release`, `mmap` and the CPU access calls run
 * without the reservation, and core refuses `mmap` to whoever holds it; all others run with it (dma-buf section 3). An exporter that throws leaves its state as it was.
 */
export interface ExporterOps {
  /** Name of the exporting module, as fdinfo shows it: `vfio_pci_core`. */
  readonly name: string;
  /** Ways this buffer can be handed to this attachment, best first. */
  offers(attachment: Attachment): readonly InterconnectName[];
  /** May clear `attachment.peer2peer` or throw (dma-buf R10); without it every importer may attach. */
  attach?(attachment: Attachment): void;
  /** An importer has gone; undoes `attach`. Nothing of it is mapped any more (dma-buf R14). */
  detach?(attachment: Attachment): void;
  /**
   * Keeps the memory where it is until as many {@link unpin} (dma-buf R20): core does not count. Both or neither (dma-buf R1). What it throws
   * reaches the importer, and nothing is pinned then: ENODEV while the memory is away.
   */
  pin?: ((attachment: Attachment, held: Held) => void) | undefined;
  /** Undoes one pin (dma-buf R20). */
  unpin?: ((attachment: Attachment, held: Held) => void) | undefined;
  /** A new table of DMA addresses for the importing device (dma-buf R24). @throws DmaBufError ENODEV while the memory is away. */
  map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable;
  /** Undoes one map, with the table it gave (dma-buf R25). */
  unmap(attachment: Attachment, table: ScatterTable, direction: DmaDirection, held: Held): void;
  /** Everything that is not `sgt`. Must work for each such name it offers. */
  open?<N extends OpenInterconnectName>(
    attachment: Attachment,
    name: N,
    held: Held,
  ): Interconnects[N];
  /** Makes what the device wrote visible to the CPU, or the other way round; may sleep (dma-buf R42). Absent: nothing to do (R41). */
  beginCpuAccess?(direction: DmaDirection): void | Promise<void>;
  /** Ends what {@link beginCpuAccess} began; pairing is the exporter's to check (dma-buf R43). */
  endCpuAccess?(direction: DmaDirection): void | Promise<void>;
  /** The whole buffer for the CPU; called for the first of several views only (dma-buf R54). Absent: no CPU view. */
  vmap?(held: Held): CpuView;
  /** The last view is gone. */
  vunmap?(view: CpuView, held: Held): void;
  /** The bytes of that part, shared with every other view; whole pages inside the buffer (dma-buf R50). Absent: cannot be mapped. */
  mmap?(slice: Slice): Uint8Array;
  /** Last reference gone; runs as deferred work, never inside the put (dma-buf R8). */
  release(): void;
}
