import type { ImporterSubject } from "@peerbar/conformance";
import {
  SimpleImport,
  SimpleImporter,
  type SimpleImportMode,
} from "@peerbar/conformance/reference";
import {
  type Attachment,
  type DmaBufReference,
  type Held,
  type ScatterEntry,
  ScatterTable,
  type Slice,
} from "@peerbar/core";
import { simpleImporterSubject } from "../fixtures/importers.js";

export type ImportClass = new (...args: ConstructorParameters<typeof SimpleImport>) => SimpleImport;

/** An importer whose imports are of that class. */
export class ImporterOf extends SimpleImporter {
  readonly #make: ImportClass;

  constructor(
    ...[device, mode, make]: [
      ...Required<ConstructorParameters<typeof SimpleImporter>>,
      ImportClass,
    ]
  ) {
    super(device, mode);
    this.#make = make;
  }

  protected override makeImport(reference: DmaBufReference, slice: Slice): SimpleImport {
    return new this.#make(this, reference, slice);
  }
}

/** The reference importer with imports of that class. */
export const importing = (
  make: ImportClass,
  mode: SimpleImportMode = "dynamic",
  iommu = true,
): ImporterSubject =>
  simpleImporterSubject("mutant", mode, (device) => new ImporterOf(device, mode, make), { iommu });

export const dynamicRight = simpleImporterSubject("reference, dynamic", "dynamic");
export const pinnedRight = simpleImporterSubject("reference, pinned", "pinned");
export const directRight = simpleImporterSubject("reference, direct", "dynamic", undefined, {
  iommu: false,
});

/** B24: the trimmed part goes back to the exporter, not its own table. */
export class UnmapsTheTrimmed extends SimpleImport {
  protected override unmapHeld(held: Held): void {
    const { table } = this;
    const whole = this.slice.offset === 0n && this.slice.length === this.buffer.size;
    if (table !== undefined && !whole) {
      const trimmed = new ScatterTable(table.space, table.pfns.slice(), table.pages.slice());
      this.table = undefined;
      this.attachment?.unmap(trimmed, "bidirectional", held);
      return;
    }
    super.unmapHeld(held);
  }
}

/** B25: what the callback works with is destroyed while the attachment can still call it. */
export class DestroysFirst extends SimpleImport {
  #pages: { readonly areas: Set<number> } | undefined = { areas: new Set([0]) };

  override invalidateMappings(attachment: Attachment, held: Held): void {
    // A mutex of memory that was given back.
    if (this.#pages === undefined) throw new TypeError("use of destroyed pages");
    super.invalidateMappings(attachment, held);
  }

  override async close(): Promise<void> {
    this.#pages = undefined;
    await super.close();
  }
}

/** B28: what a revoke has unmapped is unmapped again at the end. */
export class UnmapsTwice extends SimpleImport {
  #last: ScatterTable | undefined;

  override invalidateMappings(attachment: Attachment, held: Held): void {
    this.#last = this.table;
    super.invalidateMappings(attachment, held);
  }

  override async close(): Promise<void> {
    this.table ??= this.#last;
    await super.close();
  }
}

/** B32: the failed registration unpins, and so does its release. */
export class UnpinsTwice extends SimpleImport {
  protected override async mapHeld(held: Held): Promise<void> {
    try {
      await super.mapHeld(held);
    } catch (error) {
      // The exporter's counter goes down; nobody notes it here.
      this.attachment?.unpin(held);
      throw error;
    }
  }
}

/** B36: the mapping is there, the lock is let go, and only then the driver's callback is set. */
export class SetsItsCallbackLate extends SimpleImport {
  #callback = false;

  override async begin(): Promise<void> {
    await super.begin();
    await this.buffer.reservation.scheduler.yield({ kind: "yield", on: "set callback" });
    this.#callback = true;
  }

  override invalidateMappings(attachment: Attachment, held: Held): void {
    if (this.#callback) super.invalidateMappings(attachment, held);
  }
}

/** B37: attaches first; what the callback needs is made later. */
export class AttachesBeforeReady extends SimpleImport {
  #object: { readonly name: string } | undefined;

  override invalidateMappings(attachment: Attachment, held: Held): void {
    if (this.#object === undefined) throw new TypeError("callback on an empty object");
    super.invalidateMappings(attachment, held);
  }

  protected override async mapHeld(held: Held): Promise<void> {
    await super.mapHeld(held);
    this.#object ??= { name: "bo" };
  }
}

/** B38: attaches as for ordinary memory. */
export class AttachesStatically extends SimpleImport {
  protected override attach(): Attachment {
    return this.buffer.attach(this.importer.device);
  }
}

/** B39: base of the first entry plus offset. */
export class FirstSegmentOnly extends SimpleImport {
  protected override locate(table: ScatterTable, offset: bigint): ScatterEntry {
    const first = table.entry(0);
    return { ...first, address: (first.address + offset) as typeof first.address };
  }
}

/** B40: hears of the revoke and keeps the mapping. */
export class KeepsTheMapping extends SimpleImport {
  override invalidateMappings(): void {
    this.table = undefined;
  }
}

/** B41: the teardown decides what to release before it has the lock. */
export class DecidesBeforeTheLock extends SimpleImport {
  override async close(): Promise<void> {
    const { table, attachment } = this;
    if (table !== undefined && attachment !== undefined) {
      const held = await this.buffer.reservation.lock();
      try {
        attachment.unmap(table, "bidirectional", held);
        this.table = undefined;
      } finally {
        held.release();
      }
    }
    await super.close();
  }
}

/** B58: the last unpin comes after the lock was let go. */
export class UnpinsUnlocked extends SimpleImport {
  #closing = false;

  override async close(): Promise<void> {
    this.#closing = true;
    await super.close();
  }

  protected override unpin(held: Held): void {
    if (this.#closing) held.release();
    super.unpin(held);
  }
}
