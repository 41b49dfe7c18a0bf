import {
  type Attachment,
  type DmaBuf,
  DmaBufError,
  type DmaBufReference,
  type DmaDevice,
  type Held,
  hex,
  type ImporterOps,
  type ScatterEntry,
  type ScatterTable,
  type Slice,
} from "@peerbar/core";

/** `dynamic` maps again after a move or a restore; `pinned` pins, and takes a revoke as final. */
export type SimpleImportMode = "dynamic" | "pinned";

/**
 * The reference importer: maps a slice of a buffer for one device and writes to it. Small on purpose: read it before writing your own.
 */
export class SimpleImporter {
  readonly device: DmaDevice;
  readonly mode: SimpleImportMode;

  /** @param device - maps and writes; without an engine its writes fail */
  constructor(device: DmaDevice, mode: SimpleImportMode = "dynamic") {
    this.device = device;
    this.mode = mode;
  }

  /**
   * Imports a part of the buffer. The caller owns the import and closes it; the buffer stays alive as long.
   *
   * @throws DmaBufError EINVAL for an empty slice or one past the end; the exporter's errno otherwise. Nothing is left then.
   */
  async import(buffer: DmaBuf, slice: Slice): Promise<SimpleImport> {
    const { offset, length } = slice;
    if (length <= 0n || offset < 0n || offset + length > buffer.size) {
      throw new DmaBufError(
        "EINVAL",
        "importer.import",
        `${hex(offset)}+${hex(length)} is not inside ${hex(buffer.size)} bytes`,
      );
    }
    const imported = this.makeImport(buffer.get(), slice);
    try {
      await imported.begin();
      return imported;
    } catch (error) {
      await imported.close();
      throw error;
    }
  }

  /** For variants. */
  protected makeImport(reference: DmaBufReference, slice: Slice): SimpleImport {
    return new SimpleImport(this, reference, slice);
  }
}

/** One imported slice. */
export class SimpleImport implements ImporterOps {
  readonly allowPeer2Peer: boolean = true;
  readonly importer: SimpleImporter;
  readonly buffer: DmaBuf;
  readonly slice: Slice;
  protected table: ScatterTable | undefined;
  protected attachment: Attachment | undefined;
  readonly #reference: DmaBufReference;
  #pinned = false;
  #revoked = false;

  /** @param reference - becomes the import's, which puts it when closed */
  constructor(importer: SimpleImporter, reference: DmaBufReference, slice: Slice) {
    this.importer = importer;
    this.buffer = reference.buffer;
    this.slice = slice;
    this.#reference = reference;
  }

  /** Attaches last, when this object is ready to be invalidated (known-bugs B37), then maps under the lock. */
  async begin(): Promise<void> {
    this.attachment = this.attach();
    this.negotiate(this.attachment);
    const held = await this.buffer.reservation.lock();
    try {
      if (this.importer.mode === "pinned") this.pin(held);
      await this.mapHeld(held);
    } finally {
      held.release();
    }
  }

  /** The memory goes away or moves: unmap at once. Called with the lock held; must not wait (dma-buf R17, R28). */
  invalidateMappings(_attachment: Attachment, held: Held): void {
    this.unmapHeld(held);
    if (this.importer.mode === "pinned" && this.#pinned) {
      this.unpin(held);
      this.#revoked = true;
    }
  }

  /** The device writes at `offset` of the slice. False where it could not, and where the bytes are not all inside the slice. */
  async write(offset: bigint, bytes: Uint8Array): Promise<boolean> {
    if (this.#revoked || this.attachment === undefined) return false;
    if (!this.contains(offset, bytes.length)) return false;
    const held = await this.buffer.reservation.lock();
    try {
      await this.mapHeld(held);
      return this.table !== undefined && (await this.writeTable(this.table, offset, bytes));
    } catch (error) {
      // The device sees a failed transfer where the exporter has taken the memory back.
      if (error instanceof DmaBufError) return false;
      throw error;
    } finally {
      held.release();
    }
  }

  /** Unmaps, unpins, detaches and drops the reference. Twice is harmless. */
  async close(): Promise<void> {
    const { attachment } = this;
    if (attachment !== undefined) {
      const held = await this.buffer.reservation.lock();
      try {
        this.unmapHeld(held);
        if (this.#pinned) this.unpin(held);
      } finally {
        held.release();
      }
      this.attachment = undefined;
      attachment.detach();
    }
    this.#reference.put();
  }

  /** Attaches to the buffer; a variant may do it wrong. */
  protected attach(): Attachment {
    return this.buffer.attach(this.importer.device, this);
  }

  /** Agrees on `sgt`. @throws DmaBufError EOPNOTSUPP with both lists. */
  protected negotiate(attachment: Attachment): void {
    attachment.negotiate(["sgt"]);
  }

  /** Whether those bytes are the slice's. What follows it in the table is mapped too, and not ours to write. */
  protected contains(offset: bigint, length: number): boolean {
    return offset >= 0n && offset + BigInt(length) <= this.slice.length;
  }

  /** Entry by entry: the next one may be anywhere (known-bugs B39). */
  protected async writeTable(
    table: ScatterTable,
    offset: bigint,
    bytes: Uint8Array,
  ): Promise<boolean> {
    for (let done = 0; done < bytes.length; ) {
      const at = this.locate(table, this.slice.offset + offset + BigInt(done));
      const part = bytes.subarray(done, done + at.length);
      const { status } = (await this.importer.device.engine?.write(at.address, part)) ?? {};
      if (status !== "ok") return false;
      done += part.length;
    }
    return true;
  }

  /** Where byte `offset` of the buffer is for the device, and how many bytes follow it there. */
  protected locate(table: ScatterTable, offset: bigint): ScatterEntry {
    return table.locate(offset);
  }

  /** Pins the buffer for as long as it is imported (dma-buf R20). */
  protected pin(held: Held): void {
    this.attachment?.pin(held);
    this.#pinned = true;
  }

  /** Undoes {@link pin}. */
  protected unpin(held: Held): void {
    this.attachment?.unpin(held);
    this.#pinned = false;
  }

  /** Maps where that is not done, then waits until the exporter has finished moving (dma-buf R21). */
  protected async mapHeld(held: Held): Promise<void> {
    this.table ??= this.attachment?.map("bidirectional", held);
    await this.buffer.reservation.wait("kernel");
  }

  /** Gives back the table, if there is one. Called with the lock held. */
  protected unmapHeld(held: Held): void {
    const { table } = this;
    if (table === undefined) return;
    this.table = undefined;
    this.attachment?.unmap(table, "bidirectional", held);
  }
}
