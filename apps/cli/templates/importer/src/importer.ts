import {
  type Attachment,
  type DmaBuf,
  DmaBufError,
  type DmaBufReference,
  type DmaDevice,
  type Held,
  type ImporterOps,
  type ScatterTable,
  type Slice,
} from "@peerbar/core";

/** One slice of a buffer, mapped for one device whenever the device needs it. */
export class MyImport implements ImporterOps {
  readonly allowPeer2Peer = true;
  readonly #device: DmaDevice;
  readonly #buffer: DmaBuf;
  readonly #slice: Slice;
  readonly #reference: DmaBufReference;
  #attachment: Attachment | undefined;
  #table: ScatterTable | undefined;

  private constructor(device: DmaDevice, buffer: DmaBuf, slice: Slice) {
    this.#device = device;
    this.#buffer = buffer;
    this.#slice = slice;
    this.#reference = buffer.get(); // an attachment keeps no reference
  }

  static async open(device: DmaDevice, buffer: DmaBuf, slice: Slice): Promise<MyImport> {
    const { offset, length } = slice;
    if (length <= 0n || offset < 0n || offset + length > buffer.size) {
      throw new DmaBufError("EINVAL", "my.import", "the slice is not inside the buffer");
    }
    const self = new MyImport(device, buffer, slice);
    try {
      self.#attachment = buffer.attach(device, self); // last: from here on we can be told
      self.#attachment.negotiate(["sgt"]);
      await self.#locked((held) => self.#map(held));
      return self;
    } catch (error) {
      await self.close();
      throw error;
    }
  }

  /** Runs with the lock held, and must not wait: unmap and be done. */
  invalidateMappings(_attachment: Attachment, held: Held): void {
    this.#unmap(held);
  }

  /** The device writes inside the slice. False where the memory is away. */
  async write(offset: bigint, bytes: Uint8Array): Promise<boolean> {
    // What follows the slice is mapped too: the end is ours to keep.
    if (offset < 0n || offset + BigInt(bytes.length) > this.#slice.length) return false;
    return this.#locked(async (held) => {
      try {
        return await this.#writeTable(await this.#map(held), this.#slice.offset + offset, bytes);
      } catch {
        return false;
      }
    });
  }

  async close(): Promise<void> {
    await this.#locked((held) => {
      this.#unmap(held);
    });
    this.#attachment?.detach(); // without the lock, with nothing mapped
    this.#attachment = undefined;
    this.#reference.put();
  }

  async #map(held: Held): Promise<ScatterTable> {
    if (this.#attachment === undefined) throw new DmaBufError("EBADF", "my.import", "closed");
    const table = this.#table ?? this.#attachment.map("bidirectional", held);
    this.#table = table;
    await this.#buffer.reservation.wait("kernel"); // the exporter may still be moving
    return table;
  }

  /** Entry by entry: the next one may be anywhere. */
  async #writeTable(table: ScatterTable, offset: bigint, bytes: Uint8Array): Promise<boolean> {
    for (let done = 0; done < bytes.length; ) {
      const { address, length } = table.locate(offset + BigInt(done));
      const part = bytes.subarray(done, done + length);
      if ((await this.#device.engine?.write(address, part))?.status !== "ok") return false;
      done += part.length;
    }
    return true;
  }

  #unmap(held: Held): void {
    const table = this.#table;
    this.#table = undefined; // told twice: nothing the second time
    if (table !== undefined) this.#attachment?.unmap(table, "bidirectional", held);
  }

  async #locked<T>(run: (held: Held) => T | Promise<T>): Promise<T> {
    const held = await this.#buffer.reservation.lock();
    try {
      return await run(held);
    } finally {
      held.release();
    }
  }
}
