import { hex, isPageAligned, type Slice } from "./address.js";
import { Attachment } from "./attachment.js";
import { AttachmentList } from "./attachment-list.js";
import { type CpuMapping, type CpuView, mapForCpu, VmapCounter } from "./cpu-view.js";
import { dispose } from "./dispose.js";
import { type DmaDevice, type DmaDirection, isDmaDirection } from "./dma-device.js";
import { DmaBufError, isDmaBufError, ProtocolViolation } from "./error.js";
import type { EventSink } from "./event.js";
import type { ExporterOps } from "./exporter.js";
import type { ImporterOps } from "./importer.js";
import { nextOrdinal } from "./ordinal.js";
import { Poller } from "./poll.js";
import { CountedReference, type DmaBufReference } from "./reference.js";
import type { DmaBufRegistry } from "./registry.js";
import { type Held, Reservation } from "./reservation.js";
import { defaultScheduler, type Scheduler } from "./scheduler.js";
import { importFence, type SyncAccess, type SyncFile, snapshotFence } from "./sync-file.js";
import { NAME_BYTES, SEEK_END, SEEK_SET, utf8Length } from "./uapi.js";
import type { WaitOptions } from "./wait.js";

export type { DmaBufReference } from "./reference.js";

/** Open flags that a buffer's file keeps: O_ACCMODE and O_NONBLOCK (dma-buf R2). */
const FILE_FLAGS = 0x3 | 0x800;

/** What an exporter gives to {@link DmaBuf.export}. */
export interface ExportOptions {
  readonly ops: ExporterOps;
  /** Bytes; whole pages, below 2^63. Fixed for life (dma-buf R2). */
  readonly size: bigint;
  /** Label for events and listings; the exporter's name where absent. Not the name that users set ({@link DmaBuf.setName}). */
  readonly name?: string | undefined;
  /** Open flags of the file; all but O_ACCMODE and O_NONBLOCK are dropped (dma-buf R2). */
  readonly flags?: number | undefined;
  /** The exporter's own reservation, shared by several buffers; else each buffer has its own. */
  readonly reservation?: Reservation | undefined;
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
  /** Lists the buffer while it lives. */
  readonly registry?: DmaBufRegistry | undefined;
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
  /** Number among the buffers of its scheduler: what fdinfo and bufinfo call `ino`. */
  readonly inode: number;
  /** Open flags of the file: O_ACCMODE and O_NONBLOCK alone. */
  readonly flags: number;
  readonly events: EventSink | undefined;
  readonly #scheduler: Scheduler;
  readonly #registry: DmaBufRegistry | undefined;
  readonly #ownsReservation: boolean;
  readonly #attachments = new AttachmentList();
  #name: string | undefined;
  #references = 1;
  #closed = false;
  #attaching = 0;
  #invalidating = false;
  #attached = 0;
  #vmaps: VmapCounter | undefined;
  #poller: Poller | undefined;

  /** For kinds of buffers that add to this one; all else calls {@link DmaBuf.export}. @throws as it. */
  protected constructor(options: ExportOptions) {
    checkExport(options);
    this.ops = options.ops;
    this.size = options.size;
    this.label = options.name ?? options.ops.name;
    this.flags = (options.flags ?? 0) & FILE_FLAGS;
    this.events = options.events;
    this.#scheduler = options.scheduler ?? defaultScheduler;
    this.inode = nextOrdinal(this.#scheduler, "dmabuf");
    this.#registry = options.registry;
    this.#ownsReservation = options.reservation === undefined;
    this.reservation =
      options.reservation ??
      new Reservation({ name: this.label, scheduler: this.#scheduler, events: options.events });
    options.registry?.add(this);
    this.events?.emit({
      type: "export",
      buffer: this.label,
      inode: this.inode,
      exporter: this.ops.name,
      size: this.size,
    });
  }

  /**
   * `dma_buf_export`.
   *
   * @throws DmaBufError EINVAL for missing mandatory ops, pin without unpin, or a size that is not a positive number of whole pages
   *   below 2^63 (dma-buf R1).
   */
  static export(options: ExportOptions): DmaBuf {
    return new DmaBuf(options);
  }

  /** Attachments in the order they were made. */
  get attachments(): Iterable<Attachment> {
    const list = this.#attachments;
    return { [Symbol.iterator]: () => list[Symbol.iterator]() };
  }

  /** Counted references: what fdinfo calls `count`. */
  get references(): number {
    this.reservation.touch(false);
    return this.#references;
  }

  /** True once the last reference is gone: the exporter's release has run or is due. */
  get released(): boolean {
    this.reservation.touch(false);
    return this.#references === 0;
  }

  /** Kernel views not yet undone. */
  get vmaps(): number {
    return this.#vmaps?.count ?? 0;
  }

  /** Polls that wait for a fence, each with a reference of its own (dma-buf R48). */
  get armedPolls(): number {
    return this.#poller?.armed ?? 0;
  }

  /** What {@link setName} set last. */
  get name(): string | undefined {
    return this.#name;
  }

  /**
   * Names the buffer for people (`DMA_BUF_SET_NAME`): replaces any earlier name, attachments or not (dma-buf R44). Ends at a NUL.
   *
   * @throws DmaBufError EINVAL for more than 31 bytes of UTF-8; EBADF after release.
   */
  setName(name: string): void {
    this.#assertLive("dmabuf.setName");
    const end = name.indexOf("\0");
    const text = end < 0 ? name : name.slice(0, end);
    const bytes = utf8Length(text);
    if (bytes >= NAME_BYTES) {
      throw new DmaBufError(
        "EINVAL",
        "dmabuf.setName",
        `${String(bytes)} bytes, at most ${String(NAME_BYTES - 1)} fit`,
        { rule: "dma-buf R44" },
      );
    }
    this.#name = text;
    this.events?.emit({ type: "name", buffer: this.label, inode: this.inode, name: text });
  }

  /** Takes a reference. @throws DmaBufError EBADF after the last one was put. */
  get(): DmaBufReference {
    this.#assertLive("dmabuf.get");
    this.#references += 1;
    this.#count("get");
    return new CountedReference(this, () => {
      this.#put();
    });
  }

  /**
   * Turns the creator's reference into one that can be passed on; {@link close} does nothing afterwards.
   *
   * @throws DmaBufError EBADF where it was closed or passed on before.
   */
  move(): DmaBufReference {
    this.reservation.touch(true);
    if (this.#closed) {
      throw new DmaBufError(
        "EBADF",
        "dmabuf.move",
        `the creator's reference to ${this.label} is spent`,
      );
    }
    this.#closed = true;
    return new CountedReference(this, () => {
      this.#put();
    });
  }

  /** Drops the creator's reference; further calls do nothing. @throws as {@link DmaBufReference.put}. */
  close(): void {
    this.reservation.touch(true);
    if (this.#closed) return;
    this.#put();
    this.#closed = true;
  }

  /** {@link close}, for `using`. */
  [dispose](): void {
    this.close();
  }

  /**
   * `dma_buf_dynamic_attach`; without `importer` a static attachment (`dma_buf_attach`). The exporter's attach runs first; the attachment
   * joins the list only after it succeeded (dma-buf R13).
   *
   * @throws DmaBufError the exporter's errno; EINVAL without a device (dma-buf R9); EBADF after release; EDEADLK where the running code
   *   holds the reservation.
   */
  attach(device: DmaDevice, importer?: ImporterOps): Attachment {
    this.#assertOwned("dmabuf.attach");
    this.assertUnlocked("dmabuf.attach");
    if ((device as DmaDevice | null | undefined) == null) {
      throw new DmaBufError("EINVAL", "dmabuf.attach", "no device", { rule: "dma-buf R9" });
    }
    const number = this.#attached + 1;
    const attachment = new Attachment(this, device, importer, number);
    if (this.ops.attach !== undefined) this.#askExporter(attachment);
    this.#attached = number;
    this.#attachments.add(attachment);
    attachment.join();
    this.events?.emit({
      type: "attach",
      buffer: this.label,
      inode: this.inode,
      attachment: attachment.name,
      device: device.name,
      kind: attachment.kind,
    });
    return attachment;
  }

  /**
   * Exporter side: tells every importer that can hear it that its mapping is about to be wrong; the others are skipped (dma-buf R27).
   * DMA may still run when it returns: wait for BOOKKEEP fences and for the unmaps (dma-buf R30).
   *
   * @throws what a callback threw, after all of them have run: a broken importer does not keep the others uninformed.
   */
  invalidateMappings(held: Held): void {
    this.reservation.assertHeld(held, "dmabuf.invalidateMappings");
    if (this.#invalidating) {
      throw new ProtocolViolation(
        "dma-buf R27",
        "dmabuf.invalidateMappings",
        "called from an importer's callback",
      );
    }
    this.events?.emit({
      type: "invalidate",
      buffer: this.label,
      inode: this.inode,
      attachments: this.#attachments.size,
    });
    this.#tell(() => {
      this.#attachments.tellAll(held);
    });
  }

  /**
   * Exporter side, beyond Linux: tells every importer that asked for it that a revoke is lifted. To be called in the hold that lifts it;
   * Linux announces an un-revoke before, by {@link invalidateMappings} alone (vfio-pci-dmabuf section 2, step 5).
   *
   * @throws what a callback threw, after all of them have run.
   */
  mappingsRestored(held: Held): void {
    this.reservation.assertHeld(held, "dmabuf.mappingsRestored");
    this.#tell(() => {
      this.#attachments.tellRestored(held);
    });
  }

  /** Runs importers' callbacks, with what they must not do refused. */
  #tell(callbacks: () => void): void {
    this.#invalidating = true;
    try {
      this.reservation.notify(callbacks);
    } finally {
      this.#invalidating = false;
    }
  }

  /**
   * Before the CPU touches the buffer: the exporter's turn first, then a wait for the device (dma-buf R42). A reader waits for KERNEL and
   * WRITE fences, a writer for READ ones too, nobody for BOOKKEEP. `from-device` is reading, the others are writing (dma-buf R41).
   *
   * @throws DmaBufError the exporter's errno; EINTR, ETIMEDOUT; EINVAL for a direction that is none; EBADF after release; EDEADLK where
   *   the running code holds the reservation.
   */
  async beginCpuAccess(direction: DmaDirection, options?: WaitOptions): Promise<void> {
    this.#assertCpuAccess("dmabuf.beginCpuAccess", direction);
    await this.ops.beginCpuAccess?.(direction);
    await this.reservation.wait(direction === "from-device" ? "write" : "read", options);
    this.events?.emit({ type: "cpu-begin", buffer: this.label, inode: this.inode, direction });
  }

  /**
   * After the CPU has touched the buffer: the exporter's turn alone, no wait, no pairing check (dma-buf R43).
   *
   * @throws as {@link beginCpuAccess}.
   */
  async endCpuAccess(direction: DmaDirection): Promise<void> {
    this.#assertCpuAccess("dmabuf.endCpuAccess", direction);
    await this.ops.endCpuAccess?.(direction);
    this.events?.emit({ type: "cpu-end", buffer: this.label, inode: this.inode, direction });
  }

  /**
   * The buffer for the kernel's CPU, counted: the first call maps, the last {@link vunmap} unmaps (dma-buf R54).
   *
   * @throws DmaBufError EINVAL where the exporter offers no view; its errno otherwise; EBADF after release.
   */
  vmap(held: Held): CpuView {
    this.#assertOwned("dmabuf.vmap");
    this.reservation.assertHeld(held, "dmabuf.vmap");
    this.#vmaps ??= new VmapCounter();
    const view = this.#vmaps.map(this, held);
    const { count } = this.#vmaps;
    this.events?.emit({ type: "vmap", buffer: this.label, inode: this.inode, count });
    return view;
  }

  /** @throws ProtocolViolation without a view, or for another one than vmap gave: the kernel stops there (dma-buf R54). */
  vunmap(view: CpuView, held: Held): void {
    this.reservation.assertHeld(held, "dmabuf.vunmap");
    this.#vmaps ??= new VmapCounter();
    this.#vmaps.unmap(this, view, held);
    const { count } = this.#vmaps;
    this.events?.emit({ type: "vunmap", buffer: this.label, inode: this.inode, count });
  }

  /**
   * Part of the buffer for a process; keeps the buffer until it is unmapped (dma-buf R50).
   *
   * @param slice - Bytes; the offset in whole pages, the length is rounded up to them.
   * @throws DmaBufError EINVAL where the exporter has no mmap, or past the end; EOVERFLOW where offset and length wrap; the exporter's
   *   errno; EBADF after release.
   */
  mmap(slice: Slice): CpuMapping {
    this.#assertLive("dmabuf.mmap");
    this.assertUnlocked("dmabuf.mmap");
    return mapForCpu(this, slice, () => this.get());
  }

  /**
   * `lseek`: the way user space asks for the size. No position is kept (dma-buf R49).
   *
   * @throws DmaBufError EINVAL for all but `(0, SEEK_END)` and `(0, SEEK_SET)`; EBADF after release.
   */
  seek(offset: bigint, whence: number): bigint {
    this.#assertLive("dmabuf.seek");
    if (offset !== 0n || (whence !== SEEK_END && whence !== SEEK_SET)) {
      throw new DmaBufError(
        "EINVAL",
        "dmabuf.seek",
        `offset ${hex(offset)}, whence ${hex(whence)}`,
        {
          rule: "dma-buf R49",
        },
      );
    }
    return whence === SEEK_END ? this.size : 0n;
  }

  /**
   * Which of `events` (`POLLIN`, `POLLOUT`) are ready now. What is not is armed: the buffer then lives until a fence
   * signals, whoever closes it (dma-buf R48).
   */
  poll(events: number): number {
    this.#assertLive("dmabuf.poll");
    return this.#polls().poll(events);
  }

  /**
   * {@link poll} that sleeps until one of `events` is ready, and keeps the buffer as long as it sleeps. Giving up disarms nothing
   * (dma-buf R48).
   *
   * @throws DmaBufError EINTR, ETIMEDOUT; EINVAL without an event to wait for; EBADF after release.
   */
  async pollWait(events: number, options?: WaitOptions): Promise<number> {
    this.#assertLive("dmabuf.poll");
    return this.#polls().wait(events, options);
  }

  /**
   * What an access of that kind must wait for, as a file: a snapshot, already signalled where nothing is in flight (dma-buf R45).
   *
   * @throws DmaBufError EINVAL for another access; EBADF after release.
   */
  exportSyncFile(access: SyncAccess): SyncFile {
    this.#assertLive("dmabuf.exportSyncFile");
    return snapshotFence(this.reservation, access);
  }

  /**
   * Makes others wait for that fence: its plain parts join the reservation as WRITE or READ (dma-buf R46). Takes the lock itself.
   *
   * @throws DmaBufError EINVAL for another access; EINTR, ETIMEDOUT while waiting for the lock; EBADF after release.
   */
  async importSyncFile(file: SyncFile, access: SyncAccess, options?: WaitOptions): Promise<void> {
    this.#assertLive("dmabuf.importSyncFile");
    await importFence(this.reservation, file, access, options);
  }

  /** @internal The attachment's detach. */
  forget(attachment: Attachment): void {
    this.ops.detach?.(attachment);
    this.#attachments.delete(attachment);
    this.events?.emit({
      type: "detach",
      buffer: this.label,
      inode: this.inode,
      attachment: attachment.name,
    });
  }

  /**
   * @internal Attach and detach take the reservation in the kernel, so code that holds it deadlocks with itself (dma-buf R16, R17).
   * Another task's hold across an await is not in the way: the list changes in one step here.
   */
  assertUnlocked(operation: string): void {
    this.reservation.touch(true);
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
        { code: "EDEADLK", hint: "release the lock first" },
      );
    }
  }

  /** Without dma_resv, before the attachment is on the list (dma-buf R13). An error is returned as it is (dma-buf R9). */
  #askExporter(attachment: Attachment): void {
    this.#attaching += 1;
    try {
      this.ops.attach?.(attachment);
    } catch (error) {
      this.events?.emit({
        type: "refuse",
        buffer: this.label,
        inode: this.inode,
        operation: "attach",
        attachment: attachment.name,
        code: isDmaBufError(error) ? error.code : "unknown",
      });
      throw error;
    } finally {
      this.#attaching -= 1;
    }
  }

  get #pollReferences(): number {
    return this.#poller?.references ?? 0;
  }

  #polls(): Poller {
    this.#poller ??= new Poller(this, () => this.get());
    return this.#poller;
  }

  #put(): void {
    this.reservation.touch(true);
    // A poll's reference keeps the buffer, not its importers: it may go at any signal.
    if (this.#references - this.#pollReferences === 1) this.#assertUnused();
    this.#references -= 1;
    this.#count("put");
    if (this.#references > 0) return;
    // The last fput only queues the release: it never runs inside the caller (dma-buf R8).
    this.#scheduler.defer(() => {
      this.#release();
    });
  }

  #release(): void {
    this.reservation.touch(true);
    // Off the list before the exporter lets go (dma-buf R7).
    this.#registry?.remove(this);
    try {
      this.ops.release();
    } finally {
      if (this.#ownsReservation) this.reservation.dropFences();
      this.events?.emit({ type: "release", buffer: this.label, inode: this.inode });
    }
  }

  /** What the kernel answers with BUG or WARN at the last reference (dma-buf R6); polls have references of their own. */
  #assertUnused(): void {
    const attachments = this.#attachments.size + this.#attaching;
    const { vmaps } = this;
    if (attachments === 0 && vmaps === 0) return;
    const left = [
      ...(attachments > 0 ? [`${String(attachments)} attachments`] : []),
      ...(vmaps > 0 ? [`${String(vmaps)} kernel views`] : []),
    ];
    throw new ProtocolViolation(
      "dma-buf R6",
      "dmabuf.put",
      `the last reference, with ${left.join(" and ")} left`,
      { hint: "detach and unmap before dropping the reference that keeps the buffer" },
    );
  }

  #assertCpuAccess(operation: string, direction: DmaDirection): void {
    this.#assertLive(operation);
    this.assertUnlocked(operation);
    if (!isDmaDirection(direction)) {
      throw new DmaBufError("EINVAL", operation, `no direction ${String(direction)}`, {
        rule: "dma-buf R41",
      });
    }
  }

  /** Somebody other than a poll holds a reference: who attaches must have one. */
  #assertOwned(operation: string): void {
    if (this.#references === this.#pollReferences) {
      throw new DmaBufError("EBADF", operation, `nobody holds a reference to ${this.label}`);
    }
  }

  #assertLive(operation: string): void {
    this.reservation.touch(true);
    if (this.#references === 0) {
      throw new DmaBufError("EBADF", operation, `${this.label} was released`);
    }
  }

  #count(type: "get" | "put"): void {
    this.events?.emit({
      type,
      buffer: this.label,
      inode: this.inode,
      count: this.#references,
    });
  }
}

function checkExport({ ops, size }: ExportOptions): void {
  const given = ops as Partial<ExporterOps> | null | undefined;
  const missing = (["map", "unmap", "release", "offers"] as const).find(
    (name) => typeof given?.[name] !== "function",
  );
  if (missing !== undefined) throw invalid(`the exporter has no ${missing}`);
  if ((ops.pin === undefined) !== (ops.unpin === undefined)) {
    throw invalid("the exporter has only one of pin and unpin");
  }
  if (typeof size !== "bigint" || size <= 0n || size >= 1n << 63n || !isPageAligned(size)) {
    const text = typeof size === "bigint" ? hex(size) : String(size);
    throw invalid(`size ${text} is not a positive number of pages below 2^63`);
  }
}

function invalid(reason: string): DmaBufError {
  return new DmaBufError("EINVAL", "dmabuf.export", reason, { rule: "dma-buf R1" });
}
