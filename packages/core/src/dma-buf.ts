import { hex, isPageAligned } from "./address.js";
import { Attachment } from "./attachment.js";
import { dispose } from "./dispose.js";
import type { DmaDevice } from "./dma-device.js";
import { DmaBufError, ProtocolViolation } from "./error.js";
import type { EventSink } from "./event.js";
import type { ExporterOps } from "./exporter.js";
import type { ImporterOps } from "./importer.js";
import { type Held, Reservation } from "./reservation.js";
import { defaultScheduler, type Scheduler } from "./scheduler.js";

export interface ExportOptions {
  readonly ops: ExporterOps;
  /** Bytes; whole pages, below 2^63. Fixed for life (dma-buf R2). */
  readonly size: bigint;
  /** For events and listings. */
  readonly name?: string | undefined;
  /** The exporter's own reservation, shared by several buffers; else each buffer has its own. */
  readonly reservation?: Reservation;
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
}

/** One counted reference. Putting twice is harmless. */
export interface DmaBufReference extends Disposable {
  readonly buffer: DmaBuf;
  put(): void;
}

/**
 * A shared buffer (`struct dma_buf`). The creator holds the first reference and drops it with {@link close} or `using`;
 * the exporter's `release` runs once, after the last reference is gone.
 */
export class DmaBuf implements Disposable {
  readonly ops: ExporterOps;
  /** Bytes. */
  readonly size: bigint;
  readonly reservation: Reservation;
  /** Name for events: what was given at export, or the exporter's name. */
  readonly label: string;
  readonly events: EventSink | undefined;
  readonly #scheduler: Scheduler;
  readonly #attachments = new Set<Attachment>();
  #references = 1;
  #closed = false;
  #released = false;
  #invalidating = false;
  #attached = 0;

  private constructor(options: ExportOptions) {
    this.ops = options.ops;
    this.size = options.size;
    this.label = options.name ?? options.ops.name;
    this.events = options.events;
    this.#scheduler = options.scheduler ?? defaultScheduler;
    this.reservation =
      options.reservation ??
      new Reservation({
        name: this.label,
        scheduler: this.#scheduler,
        events: options.events,
      });
  }

  /**
   * `dma_buf_export`.
   *
   * @throws DmaBufError EINVAL for missing mandatory ops, pin without unpin, or a size that is not a positive number of whole pages
   *   below 2^63 (dma-buf R1).
   */
  static export(options: ExportOptions): DmaBuf {
    const { ops, size } = options;
    const missing = (["map", "unmap", "release", "offers"] as const).find(
      (name) => typeof ops[name] !== "function",
    );
    if (missing !== undefined) throw invalid(`the exporter has no ${missing}`);
    if ((ops.pin === undefined) !== (ops.unpin === undefined)) {
      throw invalid("the exporter has only one of pin and unpin");
    }
    if (size <= 0n || size >= 1n << 63n || !isPageAligned(size)) {
      throw invalid(`size ${hex(size)} is not a positive number of pages below 2^63`);
    }
    const buffer = new DmaBuf(options);
    buffer.events?.emit({ type: "export", buffer: buffer.label, exporter: ops.name, size });
    return buffer;
  }

  /** Attachments in the order they were made. */
  get attachments(): Iterable<Attachment> {
    return this.#attachments;
  }

  /** Counted references: what fdinfo calls `count`. */
  get references(): number {
    return this.#references;
  }

  /** True once the exporter's release has run or is due. */
  get released(): boolean {
    return this.#references === 0;
  }

  /** Takes a reference. @throws DmaBufError EBADF after the last one was put. */
  get(): DmaBufReference {
    this.#assertLive("dmabuf.get");
    this.#references += 1;
    let held = true;
    const put = (): void => {
      if (!held) return;
      this.#put();
      held = false;
    };
    return { buffer: this, put, [dispose]: put };
  }

  /** Drops the creator's reference; further calls do nothing. */
  close(): void {
    if (this.#closed) return;
    this.#put();
    this.#closed = true;
  }

  [dispose](): void {
    this.close();
  }

  /**
   * `dma_buf_dynamic_attach`; without `importer` a static attachment (`dma_buf_attach`). The exporter's attach runs first; the attachment
   * joins the list only after it succeeded (dma-buf R13).
   *
   * @throws DmaBufError the exporter's errno; EBADF after release; EDEADLK where the running code holds the reservation.
   */
  attach(device: DmaDevice, importer?: ImporterOps): Attachment {
    this.#assertLive("dmabuf.attach");
    this.assertUnlocked("dmabuf.attach");
    this.#attached += 1;
    const attachment = new Attachment(
      this,
      device,
      importer,
      `${device.name}.${String(this.#attached)}`,
    );
    this.ops.attach?.(attachment);
    this.#attachments.add(attachment);
    this.events?.emit({
      type: "attach",
      buffer: this.label,
      attachment: attachment.name,
      device: device.name,
      kind: attachment.kind,
    });
    return attachment;
  }

  /**
   * Exporter side: tells every importer that can hear it that its mapping is about to be wrong; the others are skipped (dma-buf R27).
   * DMA may still run when it returns: wait for BOOKKEEP fences and for the unmaps (dma-buf R30).
   */
  invalidateMappings(held: Held): void {
    this.reservation.assertHeld(held, "dmabuf.invalidateMappings");
    this.events?.emit({
      type: "invalidate",
      buffer: this.label,
      attachments: this.#attachments.size,
    });
    this.#invalidating = true;
    try {
      for (const attachment of this.#attachments) {
        attachment.importer?.invalidateMappings?.(attachment, held);
      }
    } finally {
      this.#invalidating = false;
    }
  }

  /** @internal The attachment's detach. */
  forget(attachment: Attachment): void {
    this.#attachments.delete(attachment);
    this.ops.detach?.(attachment);
    this.events?.emit({ type: "detach", buffer: this.label, attachment: attachment.name });
  }

  /**
   * @internal Attach and detach take the reservation in the kernel, so code that holds it deadlocks with itself (dma-buf R16, R17).
   * Another task's hold across an await is not in the way: the list changes in one step here.
   */
  assertUnlocked(operation: string): void {
    if (this.#invalidating) {
      throw new ProtocolViolation("dma-buf R17", operation, "called from invalidateMappings", {
        code: "EDEADLK",
      });
    }
    if (this.reservation.holder?.sync === true) {
      throw new ProtocolViolation(
        "dma-buf R16",
        operation,
        "the running code holds the reservation",
        {
          code: "EDEADLK",
          hint: "release the lock first",
        },
      );
    }
  }

  #put(): void {
    if (this.#references === 1 && this.#attachments.size > 0) {
      throw new ProtocolViolation(
        "dma-buf R6",
        "dmabuf.put",
        `the last reference, with ${String(this.#attachments.size)} attachments left`,
        { hint: "detach before dropping the reference that keeps the buffer" },
      );
    }
    this.#references -= 1;
    if (this.#references > 0) return;
    // The last fput only queues the release: it never runs inside the caller (dma-buf R8).
    this.#scheduler.defer(() => {
      if (this.#released) return;
      this.#released = true;
      this.ops.release();
      this.events?.emit({ type: "release", buffer: this.label });
    });
  }

  #assertLive(operation: string): void {
    if (this.#references === 0) {
      throw new DmaBufError("EBADF", operation, `${this.label} was released`);
    }
  }
}

function invalid(reason: string): DmaBufError {
  return new DmaBufError("EINVAL", "dmabuf.export", reason, { rule: "dma-buf R1" });
}
