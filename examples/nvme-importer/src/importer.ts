import {
  type Attachment,
  busAddr,
  type DmaAddr,
  type DmaBuf,
  DmaBufError,
  type DmaBufReference,
  type Held,
  type ImporterOps,
  type ScatterTable,
  type Slice,
} from "@peerbar/core";
import { ioOpcodes, NVME_BLOCK } from "@peerbar/pcie-sim";
import type { NvmeDriver } from "./driver.js";

const PAGE = 4096;
const BLOCKS_PER_PAGE = PAGE / NVME_BLOCK;

/**
 * A slice of somebody's buffer that an NVMe drive reads blocks into and writes blocks from, without host memory in between.
 *
 * Dynamic: a revoke unmaps at once, the next command maps again, and fails with ENODEV as long as the memory is away. A command holds the
 * reservation while the drive works, so that no revoke can end before the drive is done.
 */
export class BlockImport implements ImporterOps {
  readonly allowPeer2Peer = true;
  readonly #driver: NvmeDriver;
  readonly #buffer: DmaBuf;
  readonly #slice: Slice;
  readonly #reference: DmaBufReference;
  #attachment: Attachment | undefined;
  #table: ScatterTable | undefined;

  private constructor(driver: NvmeDriver, buffer: DmaBuf, slice: Slice) {
    this.#driver = driver;
    this.#buffer = buffer;
    this.#slice = slice;
    this.#reference = buffer.get(); // an attachment keeps no reference
  }

  /** @throws DmaBufError EINVAL where the slice is empty or not inside the buffer; the exporter's errno otherwise. Nothing is left then. */
  static async open(driver: NvmeDriver, buffer: DmaBuf, slice: Slice): Promise<BlockImport> {
    const { offset, length } = slice;
    if (length <= 0n || offset < 0n || offset + length > buffer.size) {
      throw new DmaBufError("EINVAL", "nvme.import", "the slice is not inside the buffer");
    }
    const self = new BlockImport(driver, buffer, slice);
    try {
      self.#attachment = buffer.attach(driver.fn, self); // last: from here on we can be told
      self.#attachment.negotiate(["sgt"]);
      await self.#locked((held) => self.#map(held));
      return self;
    } catch (error) {
      await self.close();
      throw error;
    }
  }

  /** Runs with the lock held, and must not wait: unmap and be done. Comes more than once. */
  invalidateMappings(_attachment: Attachment, held: Held): void {
    this.#unmap(held);
  }

  /** Blocks from the drive into the slice. `offset` is bytes from its start, whole pages. @throws DmaBufError as {@link store} */
  load(block: number, blocks: number, offset: bigint): Promise<void> {
    return this.#move(ioOpcodes.read, block, blocks, offset);
  }

  /**
   * Blocks from the slice onto the drive.
   *
   * @throws DmaBufError ENODEV while the memory is away, EINVAL past the end of the slice, EIO where the drive could not move the data
   */
  store(block: number, blocks: number, offset: bigint): Promise<void> {
    return this.#move(ioOpcodes.write, block, blocks, offset);
  }

  async close(): Promise<void> {
    await this.#locked((held) => {
      this.#unmap(held);
    });
    this.#attachment?.detach(); // without the lock, with nothing mapped
    this.#attachment = undefined;
    this.#reference.put();
  }

  async #move(opcode: number, block: number, blocks: number, offset: bigint): Promise<void> {
    const bytes = BigInt(blocks * NVME_BLOCK);
    if (offset < 0n || offset % BigInt(PAGE) !== 0n || offset + bytes > this.#slice.length) {
      throw new DmaBufError("EINVAL", "nvme.move", "not whole pages inside the slice");
    }
    await this.#locked(async (held) => {
      const table = await this.#map(held);
      for (let done = 0; done < blocks; done += BLOCKS_PER_PAGE) {
        // A page a command: the table may have many entries, but pages never straddle two (dma-buf R23).
        const at = this.#slice.offset + offset + BigInt(done * NVME_BLOCK);
        const count = Math.min(BLOCKS_PER_PAGE, blocks - done);
        await this.#command(opcode, block + done, count, table.locate(at).address);
      }
    });
  }

  async #command(opcode: number, block: number, count: number, address: DmaAddr): Promise<void> {
    const status = await this.#driver.run({
      opcode,
      prp1: busAddr(address),
      dword10: block,
      dword12: count - 1,
    });
    if (status !== 0) {
      throw new DmaBufError("EIO", "nvme.move", `the drive says ${status} for block ${block}`);
    }
  }

  async #map(held: Held): Promise<ScatterTable> {
    if (this.#attachment === undefined) throw new DmaBufError("EBADF", "nvme.import", "closed");
    const table = this.#table ?? this.#attachment.map("bidirectional", held);
    this.#table = table;
    await this.#buffer.reservation.wait("kernel"); // the exporter may still be moving
    return table;
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
