import type { ImporterSubject } from "@peerbar/conformance";
import { SimpleImport, SimpleImporter } from "@peerbar/conformance/reference";
import type {
  Attachment,
  DmaBuf,
  DmaBufReference,
  DmaDevice,
  Held,
  ScatterTable,
  Slice,
} from "@peerbar/core";
import { simpleImporterSubject } from "../fixtures/importers.js";

type ImportClass = new (...args: ConstructorParameters<typeof SimpleImport>) => SimpleImport;

class ImporterOf extends SimpleImporter {
  readonly #make: ImportClass;

  constructor(device: DmaDevice, make: ImportClass) {
    super(device, "dynamic");
    this.#make = make;
  }

  protected override makeImport(reference: DmaBufReference, slice: Slice): SimpleImport {
    return new this.#make(this, reference, slice);
  }
}

const over = (make: ImportClass, iommu = true): ImporterSubject =>
  simpleImporterSubject("wrong", "dynamic", (device) => new ImporterOf(device, make), { iommu });

/** At the memory itself: whoever keeps an address keeps the memory. */
const direct = (make: ImportClass): ImporterSubject => over(make, false);

/** The device's queue outlives the import. */
class WritesAfterClose extends SimpleImport {
  #last: ScatterTable | undefined;
  #closed = false;

  override async close(): Promise<void> {
    this.#last = this.table;
    await super.close();
    this.#closed = true;
  }

  override write(offset: bigint, bytes: Uint8Array): Promise<boolean> {
    if (!this.#closed || this.#last === undefined) return super.write(offset, bytes);
    return this.writeTable(this.#last, offset, bytes);
  }
}

export const writesAfterClose = direct(WritesAfterClose);

/** Posts what it looked up under the lock once it has let the lock go. */
class PostsUnlocked extends SimpleImport {
  override async write(offset: bigint, bytes: Uint8Array): Promise<boolean> {
    if (this.attachment === undefined || !this.contains(offset, bytes.length)) return false;
    const held = await this.buffer.reservation.lock();
    try {
      await this.mapHeld(held);
    } catch {
      return false;
    } finally {
      held.release();
    }
    const { table } = this;
    for (let i = 0; i < 40; i++) await Promise.resolve();
    return table !== undefined && (await this.writeTable(table, offset + this.slice.offset, bytes));
  }

  protected override writeTable(table: ScatterTable, offset: bigint, bytes: Uint8Array) {
    return super.writeTable(table, offset - this.slice.offset, bytes);
  }
}

export const postsUnlocked = direct(PostsUnlocked);

/** Remembers one import of each buffer, the last: the others hear nothing. */
class TellsTheLast extends SimpleImport {
  static readonly last = new WeakMap<DmaBuf, SimpleImport>();

  override async begin(): Promise<void> {
    TellsTheLast.last.set(this.buffer, this);
    await super.begin();
  }

  override invalidateMappings(attachment: Attachment, held: Held): void {
    if (TellsTheLast.last.get(this.buffer) === this) super.invalidateMappings(attachment, held);
  }
}

export const tellsTheLast = over(TellsTheLast);

/** Waits for the exporter when it imports, and never again. */
class WaitsOnce extends SimpleImport {
  #waited = false;

  protected override async mapHeld(held: Held): Promise<void> {
    if (!this.#waited) await super.mapHeld(held);
    this.#waited = true;
    this.table ??= this.attachment?.map("bidirectional", held);
  }
}

export const waitsOnce = over(WaitsOnce);

/** Maps again as it should, and goes on with the addresses of the first time. */
class KeepsAddresses extends SimpleImport {
  #first: ScatterTable | undefined;

  protected override locate(table: ScatterTable, offset: bigint) {
    this.#first ??= table;
    return super.locate(this.#first, offset);
  }
}

export const keepsAddresses = direct(KeepsAddresses);

/** Gives back what it saw mapped, and again where somebody else is closing too. */
class UnmapsForBoth extends SimpleImport {
  #closing: ScatterTable | undefined;

  override async close(): Promise<void> {
    const { attachment } = this;
    const other = this.#closing;
    this.#closing = this.table;
    if (other !== undefined && attachment !== undefined) {
      const held = await this.buffer.reservation.lock();
      try {
        attachment.unmap(other, "bidirectional", held);
      } finally {
        held.release();
      }
    }
    await super.close();
    this.#closing = undefined;
  }
}

export const unmapsForBoth = over(UnmapsForBoth);
