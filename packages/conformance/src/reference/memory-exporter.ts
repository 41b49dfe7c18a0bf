import {
  type Attachment,
  DmaBuf,
  DmaBufError,
  type DmaDirection,
  defaultScheduler,
  type EventSink,
  type ExporterOps,
  type Held,
  type InterconnectName,
  type Interconnects,
  Lock,
  mapPhysVec,
  type OpenInterconnectName,
  type PhysRange,
  Reservation,
  type ScatterTable,
  type Scheduler,
  unmapPhysVec,
  type WaitOptions,
  waitFor,
} from "@peerbar/core";
import type { PhysicalMemory } from "./physical-memory.js";

/** What a {@link MemoryExporter} shares, and what it demands of importers. */
export interface MemoryExporterOptions {
  readonly memory: PhysicalMemory;
  /** Ways to hand buffers over, best first. Default: `sgt`, then `phys`. */
  readonly offers?: readonly InterconnectName[];
  readonly scheduler?: Scheduler;
  readonly events?: EventSink;
}

/**
 * The reference exporter: plain memory that can be taken back from every importer at once, as a device reset takes back a BAR.
 * Small on purpose: read it before writing your own.
 */
export class MemoryExporter {
  readonly memory: PhysicalMemory;
  readonly offers: readonly InterconnectName[];
  readonly scheduler: Scheduler;
  readonly #events: EventSink | undefined;
  readonly #buffers = new Set<MemoryBuffer>();
  /** What memory_lock is to vfio-pci: one change of the memory's availability at a time. */
  readonly #changing: Lock;
  #revoked = false;

  /** Shares memory of `options.memory`, which stays the caller's; nothing is allocated before {@link export}. */
  constructor(options: MemoryExporterOptions) {
    this.memory = options.memory;
    this.offers = options.offers ?? ["sgt", "phys"];
    this.scheduler = options.scheduler ?? defaultScheduler;
    this.#events = options.events;
    this.#changing = new Lock("memory-exporter", this.scheduler);
  }

  /** Buffers whose release has not run. */
  get live(): number {
    return this.#buffers.size;
  }

  /** Shares fresh memory of `sizes` bytes each, in that order. The caller owns the reference. Born revoked while revoked. */
  export(...sizes: readonly bigint[]): DmaBuf {
    return this.exportRanges(sizes.map((size) => this.memory.allocate(size)));
  }

  /** Shares the given ranges. The caller owns the reference. @throws DmaBufError EINVAL as {@link DmaBuf.export}. */
  exportRanges(ranges: readonly PhysRange[]): DmaBuf {
    const ops = this.makeBuffer(ranges);
    const buffer = DmaBuf.export({
      ops,
      size: ranges.reduce((sum, range) => sum + range.length, 0n),
      scheduler: this.scheduler,
      events: this.#events,
      reservation: this.makeReservation(),
    });
    ops.buffer = buffer;
    ops.revoked = this.#revoked;
    this.#buffers.add(ops);
    return buffer;
  }

  /**
   * Takes the memory back: later maps fail with ENODEV. When it resolves no mapping is live and every fence has signalled
   * (dma-buf R30, R31). Already revoked: nothing to do.
   */
  revoke(options?: WaitOptions): Promise<void> {
    return this.#change(true, options);
  }

  /** Makes the memory available again; importers may map from now on. */
  restore(options?: WaitOptions): Promise<void> {
    return this.#change(false, options);
  }

  /** For variants: how a buffer is made. */
  protected makeBuffer(ranges: readonly PhysRange[]): MemoryBuffer {
    return new MemoryBuffer(this, ranges, this.forgetBuffer);
  }

  /** For variants: what a buffer calls when it is released. */
  protected readonly forgetBuffer = (ops: MemoryBuffer): void => {
    this.#buffers.delete(ops);
  };

  /** For variants: the reservation of one buffer. */
  protected makeReservation(): Reservation {
    return new Reservation({ scheduler: this.scheduler, events: this.#events });
  }

  async #change(revoked: boolean, options: WaitOptions | undefined): Promise<void> {
    const changing = await this.#changing.lock(options);
    try {
      if (this.#revoked === revoked) return;
      this.#revoked = revoked;
      for (const ops of [...this.#buffers]) await ops.setRevoked(revoked, options);
    } finally {
      changing.release();
    }
  }
}

/** One buffer of a {@link MemoryExporter}: its operations and its state. */
export class MemoryBuffer implements ExporterOps {
  readonly name: string = "memory-exporter";
  readonly exporter: MemoryExporter;
  /** Where the memory is. May change while nothing is mapped. */
  ranges: readonly PhysRange[];
  /** Set once, right after export. */
  buffer: DmaBuf | undefined;
  /** Written and read with the reservation held, but for attach's early look. */
  revoked = false;
  readonly #onRelease: (self: MemoryBuffer) => void;
  #mappings = 0;
  #drained: (() => void) | undefined;

  /** @param onRelease - called once, when the buffer's last reference is gone (dma-buf R6) */
  constructor(
    exporter: MemoryExporter,
    ranges: readonly PhysRange[],
    onRelease: (self: MemoryBuffer) => void,
  ) {
    this.exporter = exporter;
    this.ranges = ranges;
    this.#onRelease = onRelease;
  }

  offers(_attachment: Attachment): readonly InterconnectName[] {
    return this.exporter.offers;
  }

  /** An importer that cannot be told to let go would keep a revoke waiting for ever (dma-buf R12). */
  attach(attachment: Attachment): void {
    if (this.revoked) throw revokedError("dmabuf.attach");
    if (!attachment.revocable) {
      throw new DmaBufError("EOPNOTSUPP", "dmabuf.attach", "the importer cannot be revoked", {
        hint: "give the importer an invalidateMappings that unmaps",
        rule: "dma-buf R12",
      });
    }
  }

  /** DMA addresses of the buffer for the importing device. @throws DmaBufError ENODEV while revoked (dma-buf R31). */
  map(attachment: Attachment, direction: DmaDirection, _held: Held): ScatterTable {
    if (this.revoked) throw revokedError("dmabuf.map");
    const { device } = attachment;
    const table =
      device.dma === undefined
        ? mapPhysVec(device, { kind: "bus", busOffset: 0n }, this.ranges, direction)
        : mapPhysVec(device, { kind: "host-bridge" }, this.ranges, direction);
    this.#mappings += 1;
    return table;
  }

  /** Undoes one map; a revoke that waits for the last goes on. */
  unmap(_attachment: Attachment, table: ScatterTable, _direction: DmaDirection, _held: Held): void {
    unmapPhysVec(table);
    this.#mappings -= 1;
    if (this.#mappings === 0) this.#drained?.();
  }

  open<N extends OpenInterconnectName>(
    _attachment: Attachment,
    name: N,
    _held: Held,
  ): Interconnects[N] {
    if (this.revoked) throw revokedError("attachment.open");
    if (name === "phys") return this.ranges as Interconnects[N];
    throw new DmaBufError("EOPNOTSUPP", "attachment.open", `${name} is not offered`);
  }

  release(): void {
    this.#onRelease(this);
  }

  /** Flag, then tell, then wait for the fences and for the unmaps: in that order (dma-buf R30, R31). */
  async setRevoked(revoked: boolean, options: WaitOptions | undefined): Promise<void> {
    const { buffer } = this;
    if (buffer === undefined || buffer.released || this.revoked === revoked) return;
    const reference = buffer.get();
    try {
      const held = await buffer.reservation.lock(options);
      try {
        if (revoked) this.revoked = true;
        buffer.invalidateMappings(held);
        await buffer.reservation.wait("bookkeep", options);
        this.revoked = revoked;
      } finally {
        held.release();
      }
      if (revoked) await this.drain(options);
    } finally {
      reference.put();
    }
  }

  /** Waits until nothing is mapped. The reservation is not held: importers need it to unmap. */
  protected async drain(options: WaitOptions | undefined): Promise<void> {
    if (this.#mappings === 0) return;
    await waitFor(
      this.exporter.scheduler,
      { kind: "drain", on: this.name },
      options,
      "dmabuf.revoke",
      (wake) => {
        this.#drained = wake;
        return () => {
          this.#drained = undefined;
        };
      },
    );
  }
}

function revokedError(operation: string): DmaBufError {
  return new DmaBufError("ENODEV", operation, "the memory was taken back", {
    hint: "map again once the exporter has restored it",
  });
}
