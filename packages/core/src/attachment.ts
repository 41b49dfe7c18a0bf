import { dispose } from "./dispose.js";
import type { DmaBuf } from "./dma-buf.js";
import { type DmaDevice, type DmaDirection, isDmaDirection } from "./dma-device.js";
import { DmaBufError, isDmaBufError, ProtocolViolation } from "./error.js";
import type { ImporterOps } from "./importer.js";
import {
  agree,
  type InterconnectName,
  type Interconnects,
  type OpenInterconnectName,
} from "./interconnect.js";
import { MappingSet } from "./mapping-set.js";
import type { Held } from "./reservation.js";
import type { ScatterTable } from "./scatter-table.js";
import type { WaitOptions } from "./wait.js";

/** Class of an attachment, by what its importer brought (dma-buf section 2). */
export type AttachmentKind = "static" | "dynamic" | "not-revocable";

type Phase = "attaching" | "attached" | "detached";

/**
 * One device's share in one buffer. It holds no reference to the buffer: the importer does (dma-buf section 1).
 * Detaching twice is harmless; any other use after detach throws EBADF.
 */
export class Attachment implements Disposable {
  readonly buffer: DmaBuf;
  readonly device: DmaDevice;
  /** Undefined for a static importer (`dma_buf_attach`). */
  readonly importer: ImporterOps | undefined;
  /** @internal Where it stands in the buffer's list. */
  place = 0;
  readonly #number: number;
  #phase: Phase = "attaching";
  #peer2peer: boolean;
  #pins = 0;
  #mappings: MappingSet | undefined;

  /** @internal Made by {@link DmaBuf.attach}. */
  constructor(
    buffer: DmaBuf,
    device: DmaDevice,
    importer: ImporterOps | undefined,
    number: number,
  ) {
    this.buffer = buffer;
    this.device = device;
    this.importer = importer;
    this.#number = number;
    this.#peer2peer = importer?.allowPeer2Peer ?? false;
  }

  /** For events and listings: the device's name and a number that is unique in the buffer. */
  get name(): string {
    return `${this.device.name}.${String(this.#number)}`;
  }

  /** Whether the importer takes peer-to-peer memory. The exporter may clear it in `attach`, and only there (dma-buf R10). */
  get peer2peer(): boolean {
    return this.#peer2peer;
  }

  set peer2peer(value: boolean) {
    if (value === this.#peer2peer) return;
    if (value || this.#phase !== "attaching") {
      throw new ProtocolViolation(
        "dma-buf R10",
        "attachment.peer2peer",
        value ? "only the importer can allow peer-to-peer" : "too late to decline",
        { hint: "clear it in the exporter's attach" },
      );
    }
    this.#peer2peer = value;
  }

  /** The importer brought ops, whether or not it can be invalidated (dma-buf R11). */
  get isDynamic(): boolean {
    return this.importer !== undefined;
  }

  /** The importer can be told to let go (dma-buf R12). */
  get revocable(): boolean {
    return this.importer?.invalidateMappings !== undefined;
  }

  /** The importer's class: what it is promised, and what is asked of it. */
  get kind(): AttachmentKind {
    if (this.importer === undefined) return "static";
    return this.revocable ? "dynamic" : "not-revocable";
  }

  /** False before the exporter's attach has succeeded, and after detach. */
  get attached(): boolean {
    return this.#phase === "attached";
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
    const { buffer } = this;
    const { ops } = buffer;
    agree([name], ops.offers(this), "attachment.open");
    if (ops.open === undefined) {
      throw new ProtocolViolation(
        "interconnect",
        "attachment.open",
        `${ops.name} offers ${name} and has no open`,
      );
    }
    let opened: Interconnects[N];
    try {
      opened = ops.open(this, name, held);
    } catch (error) {
      this.#refused("open", error);
      throw error;
    }
    buffer.events?.emit({
      type: "open",
      buffer: buffer.label,
      inode: buffer.inode,
      attachment: this.name,
      interconnect: name,
    });
    return opened;
  }

  /**
   * Maps the whole buffer for the device. Nothing is cached: every call asks the exporter and needs its own unmap (dma-buf R24).
   * Dynamic importers wait for KERNEL fences themselves (dma-buf R21).
   *
   * @throws DmaBufError the exporter's errno; ENOMEM where it gave no table; EINVAL for a direction that is none; EAGAIN for a static
   *   importer while KERNEL fences are pending (use {@link mapWait}). ProtocolViolation where the table has no entries; it is given back.
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
   * {@link map} that also waits for KERNEL fences, as the core does for static importers (dma-buf R21). The reservation stays held: it
   * must not be released before this ends.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT: the mapping made meanwhile is undone.
   */
  async mapWait(direction: DmaDirection, held: Held, options?: WaitOptions): Promise<ScatterTable> {
    this.#guard(held, "attachment.map");
    const table = this.#map(direction, held);
    try {
      await this.buffer.reservation.wait("kernel", options);
      this.buffer.reservation.assertHeld(held, "attachment.map");
    } catch (error) {
      if (held.held) this.unmap(table, direction, held);
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
    const mappings = this.#mappings;
    const mapping = mappings?.find(table, direction);
    if (mappings === undefined || mapping === undefined) {
      throw new ProtocolViolation("dma-buf R25", "attachment.unmap", "this table is not mapped");
    }
    if (mapping.direction !== direction) {
      throw new ProtocolViolation(
        "dma-buf R25",
        "attachment.unmap",
        `mapped ${mapping.direction}, unmapped ${direction}`,
      );
    }
    const { buffer } = this;
    buffer.ops.unmap(this, table, direction, held);
    mappings.delete(mapping);
    buffer.events?.emit({
      type: "unmap",
      buffer: buffer.label,
      inode: buffer.inode,
      attachment: this.name,
      mapping: mapping.id,
    });
    if (this.#autoPins) this.#unpin(held);
  }

  /**
   * Asks the exporter to keep the buffer where it is. Without effect on exporters that have no pin (dma-buf R18).
   *
   * @throws ProtocolViolation on a static attachment, where the kernel warns and goes on (dma-buf R18); DmaBufError the exporter's.
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
    if (this.#pins === 0 || !this.isDynamic) {
      throw new ProtocolViolation("dma-buf R20", "attachment.unpin", "not pinned");
    }
    this.#unpin(held);
  }

  /**
   * Leaves the buffer. Mappings must be gone: the kernel would leak them (dma-buf R14).
   *
   * @throws ProtocolViolation while mapped or pinned, EDEADLK where the running code holds the reservation; still attached then.
   */
  detach(): void {
    if (this.#phase !== "attached") return;
    this.buffer.assertUnlocked("attachment.detach");
    if (this.mappings > 0 || this.#pins > 0) {
      throw new ProtocolViolation(
        "dma-buf R14",
        "attachment.detach",
        `${String(this.mappings)} mappings and ${String(this.#pins)} pins are left`,
        { hint: "unmap and unpin first" },
      );
    }
    this.#phase = "detached";
    try {
      this.buffer.forget(this);
    } catch (error) {
      this.#phase = "attached";
      throw error;
    }
  }

  /** {@link detach}, for `using`. */
  [dispose](): void {
    this.detach();
  }

  /** @internal The exporter's attach succeeded. */
  join(): void {
    this.#phase = "attached";
  }

  /** The core pins around the maps of a static importer where the exporter has pin (dma-buf R19). */
  get #autoPins(): boolean {
    return this.importer === undefined && this.buffer.ops.pin !== undefined;
  }

  #map(direction: DmaDirection, held: Held): ScatterTable {
    const { buffer } = this;
    if (!isDmaDirection(direction)) {
      throw new DmaBufError("EINVAL", "attachment.map", `no direction ${String(direction)}`);
    }
    if (this.#autoPins) this.#pin(held);
    let table: ScatterTable;
    try {
      table = this.#ask(direction, held);
    } catch (error) {
      this.#refused("map", error);
      // Every failure after the automatic pin unpins (dma-buf R22).
      if (this.#autoPins) this.#unpin(held);
      throw error;
    }
    this.#mappings ??= new MappingSet();
    const { id } = this.#mappings.add(table, direction);
    buffer.events?.emit({
      type: "map",
      buffer: buffer.label,
      inode: buffer.inode,
      attachment: this.name,
      mapping: id,
      entries: table.entries,
      size: table.size,
      first: table.entry(0).address,
      space: table.space,
    });
    return table;
  }

  /** The exporter's map, and what no importer could use of its answer: the exporter then has it back, and counts nothing. */
  #ask(direction: DmaDirection, held: Held): ScatterTable {
    const { ops } = this.buffer;
    const table = ops.map(this, direction, held);
    if ((table as ScatterTable | undefined | null) == null) {
      throw new DmaBufError("ENOMEM", "attachment.map", `${ops.name} gave no table`, {
        rule: "dma-buf R21",
      });
    }
    if (table.entries === 0) {
      ops.unmap(this, table, direction, held);
      throw new ProtocolViolation(
        "dma-buf R23",
        "attachment.map",
        `${ops.name} gave a table without entries`,
      );
    }
    return table;
  }

  #pin(held: Held): void {
    const { buffer } = this;
    try {
      buffer.ops.pin?.(this, held);
    } catch (error) {
      this.#refused("pin", error);
      throw error;
    }
    this.#pins += 1;
    buffer.events?.emit({
      type: "pin",
      buffer: buffer.label,
      inode: buffer.inode,
      attachment: this.name,
    });
  }

  #unpin(held: Held): void {
    const { buffer } = this;
    buffer.ops.unpin?.(this, held);
    this.#pins -= 1;
    buffer.events?.emit({
      type: "unpin",
      buffer: buffer.label,
      inode: buffer.inode,
      attachment: this.name,
    });
  }

  #refused(operation: string, error: unknown): void {
    const { buffer } = this;
    buffer.events?.emit({
      type: "refuse",
      buffer: buffer.label,
      inode: buffer.inode,
      operation,
      attachment: this.name,
      code: isDmaBufError(error) ? error.code : "unknown",
    });
  }

  #guard(held: Held, operation: string): void {
    this.#assertAttached(operation);
    this.buffer.reservation.assertHeld(held, operation);
  }

  #assertAttached(operation: string): void {
    if (this.#phase !== "attached") {
      throw new DmaBufError("EBADF", operation, `${this.name} is not attached`);
    }
  }
}
