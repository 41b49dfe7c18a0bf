import {
  type Attachment,
  Closing,
  type DmaBuf,
  DmaBufError,
  type DmaBufReference,
  type DmaDevice,
  type EventSink,
  type Held,
  hex,
  type ImporterOps,
  type InterconnectName,
  type ObjectWatch,
  type OpenInterconnectName,
  type Slice,
  type WaitOptions,
} from "@peerbar/core";
import type { Area, Opened } from "./area.js";

/** What one iommufd gives to all the buffers it imports. */
export interface ImporterContext {
  /** The /dev/iommu device: not PCI, hence in no topology (iommufd R7). */
  readonly device: DmaDevice;
  /** Interconnects the backend maps, best first. */
  readonly accepts: readonly InterconnectName[];
  readonly events: EventSink | undefined;
  /** All objects of one iommufd: the kernel guards them with locks of its own, which nobody waits for long. */
  readonly watch: ObjectWatch | undefined;
  /** Maps under way: each has a reference and an attachment before it has an area. */
  readonly importing: Set<Promise<unknown>>;
  /** Beyond Linux: called with the reservation held when a revoked buffer is announced again, or told to be back. */
  readonly restorable: ((pages: DmaBufPages) => void) | undefined;
}

/**
 * One import of a buffer: the reference, the attachment, and every area that shows it, in whatever address space
 * (the kernel's `struct iopt_pages`; iommufd R9). A "pinned, revocable" importer that never maps (iommufd R7).
 */
export class DmaBufPages {
  readonly buffer: DmaBuf;
  /** Whether the first mapping allowed writes: copies may not widen it (iommufd section 5). */
  readonly writable: boolean;
  /** Areas that show these pages: what a revoke must reach (iommufd R14). */
  readonly areas = new Set<Area>();
  readonly #context: ImporterContext;
  readonly #reference: DmaBufReference;
  readonly #ending = new Closing();
  #attachment: Attachment | undefined;
  /** The kernel's marker is a range of length 0, which is also how an import begins: what is told before the query is no revoke (R14). */
  #revoked = true;

  private constructor(context: ImporterContext, reference: DmaBufReference, writable: boolean) {
    this.buffer = reference.buffer;
    this.writable = writable;
    this.#context = context;
    this.#reference = reference;
  }

  /**
   * Attaches, pins, asks for the memory and hands it to `insert`, all of it undone exactly once where a later step fails (iommufd R22).
   * Consumes `reference`.
   *
   * @throws DmaBufError the exporter's errno (iommufd M10 to M12, M14), EOPNOTSUPP (M13, M15), what `insert` throws, EINTR.
   */
  static async import(
    context: ImporterContext,
    reference: DmaBufReference,
    writable: boolean,
    slice: Slice,
    insert: (pages: DmaBufPages, opened: Opened) => Area,
    options?: WaitOptions,
  ): Promise<Area> {
    const pages = new DmaBufPages(context, reference, writable);
    try {
      // Everything the revoke handler touches exists before the attach (known-bugs B37).
      pages.#attachment = pages.buffer.attach(context.device, pages.#importer());
      const fill = (held: Held): Area => pages.#fill(held, slice, insert);
      return await pages.buffer.reservation.hold(fill, options);
    } catch (error) {
      pages.#attachment?.detach();
      reference.put();
      throw error;
    }
  }

  /** The exporter took the memory back. Without `remapOnRestore` this never ends (iommufd R15). */
  get revoked(): boolean {
    this.#context.watch?.touch(false);
    return this.#revoked;
  }

  /** Asks the exporter for the memory, under its reservation (iommufd R7). */
  open(held: Held, slice: Slice): Opened {
    const attachment = this.#attached();
    // The kernel asks vfio-pci alone, after attach and pin: everybody else gets EOPNOTSUPP here (iommufd M13).
    const accepts = this.#context.accepts.filter((name) => name !== "sgt");
    const name = attachment.negotiate<OpenInterconnectName>(accepts);
    const what = attachment.open(name, held);
    if (Array.isArray(what)) checkRanges(what, slice);
    return { name, what };
  }

  /** Beyond Linux: fills every area again. @throws DmaBufError the exporter's or the backend's errno; revoked still. */
  restore(held: Held): void {
    this.#context.watch?.touch(true);
    if (!this.#revoked || this.areas.size === 0) return;
    const areas = [...this.areas];
    try {
      for (const area of areas) if (area.revoked) area.restore(this.open(held, area.slice));
    } catch (error) {
      for (const area of areas) area.revoke();
      throw error;
    }
    this.#revoked = false;
    this.#context.events?.emit({
      type: "iommufd-restore",
      buffer: this.buffer.label,
      areas: areas.length,
    });
  }

  /**
   * The last area is gone: unpin under the reservation, detach without it, put, in this order (iommufd R21, known-bugs B25 and B58).
   * Waits for the reservation, as the kernel does, and fails only where the exporter throws; the next call goes on from there.
   */
  release(): Promise<void> {
    return this.#ending.run(async () => {
      const attachment = this.#attached();
      await this.buffer.reservation.hold((held) => {
        if (attachment.pins > 0) attachment.unpin(held);
      });
      attachment.detach();
      this.#reference.put();
    });
  }

  /** The part of {@link import} that runs under the reservation. */
  #fill(held: Held, slice: Slice, insert: (pages: DmaBufPages, opened: Opened) => Area): Area {
    const attachment = this.#attached();
    attachment.pin(held);
    try {
      const opened = this.open(held, slice);
      this.#revoked = false;
      return insert(this, opened);
    } catch (error) {
      attachment.unpin(held);
      throw error;
    }
  }

  #importer(): ImporterOps {
    return {
      allowPeer2Peer: true,
      invalidateMappings: () => {
        this.#invalidate();
      },
      mappingsRestored: () => {
        if (this.#revoked) this.#context.restorable?.(this);
      },
    };
  }

  /** `iopt_revoke_notify`: synchronous and complete when it returns (iommufd R14, R19). */
  #invalidate(): void {
    this.#context.watch?.touch(true);
    if (this.#revoked) {
      // The second notification tells of the un-revoke; Linux ignores it (iommufd R15).
      this.#context.restorable?.(this);
      return;
    }
    this.#revoked = true;
    for (const area of this.areas) area.revoke();
    this.#context.events?.emit({
      type: "iommufd-revoke",
      buffer: this.buffer.label,
      areas: this.areas.size,
    });
  }

  #attached(): Attachment {
    if (this.#attachment === undefined) throw new Error("iommufd: pages without an attachment");
    return this.#attachment;
  }
}

/** iommufd maps one physical range that covers the buffer (iommufd M15). */
function checkRanges(ranges: readonly { readonly length: bigint }[], slice: Slice): void {
  const [range] = ranges;
  if (range === undefined || ranges.length > 1) {
    throw new DmaBufError("EOPNOTSUPP", "iommufd.map", `the buffer has ${ranges.length} ranges`, {
      hint: "export and map each range as a buffer of its own",
      rule: "iommufd M15",
    });
  }
  if (slice.offset + slice.length > range.length) {
    throw new DmaBufError(
      "EINVAL",
      "iommufd.map",
      `the exporter handed over ${hex(range.length)} bytes, fewer than the slice needs`,
      { rule: "iommufd R10" },
    );
  }
}
