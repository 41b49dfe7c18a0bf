import { dispose } from "./dispose.js";
import type { DmaBuf } from "./dma-buf.js";
import type { DmaDevice, DmaDirection } from "./dma-device.js";
import { DmaBufError, ProtocolViolation } from "./error.js";
import type { ImporterOps } from "./importer.js";
import {
  agree,
  type InterconnectName,
  type Interconnects,
  type OpenInterconnectName,
} from "./interconnect.js";
import type { Held } from "./reservation.js";
import type { ScatterTable } from "./scatter-table.js";
import type { WaitOptions } from "./wait.js";

/** Class of an attachment, by what its importer brought (dma-buf section 2). */
export type AttachmentKind = "static" | "dynamic" | "not-revocable";

/**
 * One device's share in one buffer. It holds no reference to the buffer: the importer does (dma-buf section 1).
 * Detaching twice is harmless; any other use after detach throws EBADF.
 */
export class Attachment implements Disposable {
  readonly buffer: DmaBuf;
  readonly device: DmaDevice;
  /** Undefined for a static importer (`dma_buf_attach`). */
  readonly importer: ImporterOps | undefined;
  readonly name: string;
  /** Whether the importer takes peer-to-peer memory. The exporter may clear it in `attach`, and only there (dma-buf R10). */
  peer2peer: boolean;
  #attached = true;
  #pins = 0;
  #mappings: Map<ScatterTable, DmaDirection> | undefined;

  /** @internal Made by {@link DmaBuf.attach}. */
  constructor(buffer: DmaBuf, device: DmaDevice, importer: ImporterOps | undefined, name: string) {
    this.buffer = buffer;
    this.device = device;
    this.importer = importer;
    this.name = name;
    this.peer2peer = importer?.allowPeer2Peer ?? false;
  }

  /** The importer brought ops, whether or not it can be invalidated (dma-buf R11). */
  get isDynamic(): boolean {
    return this.importer !== undefined;
  }

  /** The importer can be told to let go (dma-buf R12). */
  get revocable(): boolean {
    return this.importer?.invalidateMappings !== undefined;
  }

  get kind(): AttachmentKind {
    if (this.importer === undefined) return "static";
    return this.revocable ? "dynamic" : "not-revocable";
  }

  get attached(): boolean {
    return this.#attached;
  }

  /** Pins not yet undone. */
  get pins(): number {
    return this.#pins;
  }

  /** Mappings not yet undone. */
  get mappings(): number {
    return this.#mappings?.size ?? 0;
  }

  /** @throws DmaBufError EOPNOTSUPP naming both lists where nothing is common. */
  negotiate<N extends InterconnectName>(accepts: readonly N[]): N {
    this.#assertAttached("attachment.negotiate");
    return agree(accepts, this.buffer.ops.offers(this), "attachment.negotiate");
  }

  /**
   * Hands the buffer over by an interconnect other than `sgt`.
   *
   * @throws DmaBufError EOPNOTSUPP where the exporter does not offer it; the exporter's errno otherwise (ENODEV while revoked).
   */
  open<N extends OpenInterconnectName>(name: N, held: Held): Interconnects[N] {
    this.#guard(held, "attachment.open");
    const { ops } = this.buffer;
    agree([name], ops.offers(this), "attachment.open");
    if (ops.open === undefined) {
      throw new ProtocolViolation(
        "interconnect",
        "attachment.open",
        `${ops.name} offers ${name} and has no open`,
      );
    }
    const opened = ops.open(this, name, held);
    this.buffer.events?.emit({
      type: "open",
      buffer: this.buffer.label,
      attachment: this.name,
      interconnect: name,
    });
    return opened;
  }

  /**
   * Maps the whole buffer for the device; every call gives its own table (dma-buf R24). Dynamic importers wait for KERNEL fences
   * themselves (dma-buf R21).
   *
   * @throws DmaBufError the exporter's errno; EAGAIN for a static importer while KERNEL fences are pending (use {@link mapWait}).
   */
  map(direction: DmaDirection, held: Held): ScatterTable {
    this.#guard(held, "attachment.map");
    if (!this.isDynamic && !this.buffer.reservation.isSignaled("kernel")) {
      throw new DmaBufError("EAGAIN", "attachment.map", "the exporter is still moving the buffer", {
        hint: "use mapWait(), which waits for KERNEL fences",
        rule: "dma-buf R21",
      });
    }
    return this.#map(direction, held);
  }

  /**
   * {@link map} that also waits for KERNEL fences, as the core does for static importers (dma-buf R21). The reservation stays held.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT: the mapping made meanwhile is undone.
   */
  async mapWait(direction: DmaDirection, held: Held, options?: WaitOptions): Promise<ScatterTable> {
    this.#guard(held, "attachment.map");
    const table = this.#map(direction, held);
    try {
      await this.buffer.reservation.wait("kernel", options);
    } catch (error) {
      this.unmap(table, direction, held);
      throw error;
    }
    return table;
  }

  /**
   * Gives a mapping back; its addresses must not be used any more.
   *
   * @throws ProtocolViolation for a table that is not mapped here, or another direction than at map (dma-buf R25).
   */
  unmap(table: ScatterTable, direction: DmaDirection, held: Held): void {
    this.#guard(held, "attachment.unmap");
    const mappedAs = this.#mappings?.get(table);
    if (mappedAs === undefined) {
      throw new ProtocolViolation(
        "dma-buf R25",
        "attachment.unmap",
        "this table is not mapped here",
      );
    }
    if (mappedAs !== direction) {
      throw new ProtocolViolation(
        "dma-buf R25",
        "attachment.unmap",
        `mapped ${mappedAs}, unmapped ${direction}`,
      );
    }
    const { buffer } = this;
    buffer.ops.unmap(this, table, direction, held);
    this.#mappings?.delete(table);
    if (this.#autoPins) this.unpin(held);
    buffer.events?.emit({ type: "unmap", buffer: buffer.label, attachment: this.name });
  }

  /**
   * Asks the exporter to keep the buffer where it is. Without effect on exporters that have no pin (dma-buf R18).
   *
   * @throws ProtocolViolation on a static attachment (dma-buf R18).
   */
  pin(held: Held): void {
    this.#guard(held, "attachment.pin");
    if (!this.isDynamic) {
      throw new ProtocolViolation("dma-buf R18", "attachment.pin", "a static attachment");
    }
    this.#pin(held);
  }

  /** @throws ProtocolViolation without a pin to undo (dma-buf R20). */
  unpin(held: Held): void {
    this.#guard(held, "attachment.unpin");
    if (this.#pins === 0) {
      throw new ProtocolViolation("dma-buf R20", "attachment.unpin", "not pinned");
    }
    this.buffer.ops.unpin?.(this, held);
    this.#pins -= 1;
    this.buffer.events?.emit({
      type: "unpin",
      buffer: this.buffer.label,
      attachment: this.name,
    });
  }

  /**
   * Leaves the buffer. Mappings must be gone: the kernel would leak them (dma-buf R14).
   *
   * @throws ProtocolViolation while mapped or pinned, EDEADLK where the running code holds the reservation; still attached then.
   */
  detach(): void {
    if (!this.#attached) return;
    this.buffer.assertUnlocked("attachment.detach");
    if (this.mappings > 0 || this.#pins > 0) {
      throw new ProtocolViolation(
        "dma-buf R14",
        "attachment.detach",
        `${String(this.mappings)} mappings and ${String(this.#pins)} pins are left`,
        { hint: "unmap and unpin first" },
      );
    }
    this.#attached = false;
    this.buffer.forget(this);
  }

  [dispose](): void {
    this.detach();
  }

  /** The core pins around the maps of a static importer where the exporter has pin (dma-buf R19). */
  get #autoPins(): boolean {
    return !this.isDynamic && this.buffer.ops.pin !== undefined;
  }

  #map(direction: DmaDirection, held: Held): ScatterTable {
    const { buffer } = this;
    if (this.#autoPins) this.#pin(held);
    let table: ScatterTable;
    try {
      table = buffer.ops.map(this, direction, held);
    } catch (error) {
      // Every failure after the automatic pin unpins (dma-buf R22).
      if (this.#autoPins) this.unpin(held);
      throw error;
    }
    (this.#mappings ??= new Map()).set(table, direction);
    buffer.events?.emit({
      type: "map",
      buffer: buffer.label,
      attachment: this.name,
      entries: table.entries,
      size: table.size,
    });
    return table;
  }

  #pin(held: Held): void {
    this.buffer.ops.pin?.(this, held);
    this.#pins += 1;
    this.buffer.events?.emit({ type: "pin", buffer: this.buffer.label, attachment: this.name });
  }

  #guard(held: Held, operation: string): void {
    this.#assertAttached(operation);
    this.buffer.reservation.assertHeld(held, operation);
  }

  #assertAttached(operation: string): void {
    if (!this.#attached) {
      throw new DmaBufError("EBADF", operation, `${this.name} is detached`);
    }
  }
}
