import {
  type Attachment,
  busAddr,
  type DmaAddr,
  type DmaBuf,
  type DmaBufError,
  type DmaDirection,
  type Held,
  type InterconnectName,
  type Interconnects,
  type OpenInterconnectName,
  PAGE_BYTES,
  type PhysRange,
  physAddr,
  ScatterTable,
  toPfn,
  type WaitOptions,
} from "@peerbar/core";
import { MemoryBuffer, MemoryExporter } from "../reference/memory-exporter.js";
import type { PhysicalMemory } from "../reference/physical-memory.js";

/** Operations of a {@link WatchedExporter} that can be told to fail. */
export type FailingStep = "attach" | "pin" | "map";

/**
 * The exporter that importers meet in the suite: the reference exporter with pin, which counts what importers hold and fails
 * on request. It takes any importer, revocable or not, unless told otherwise.
 */
export class WatchedExporter extends MemoryExporter {
  /** Every attachment that was ever made. */
  readonly attachments: Attachment[] = [];
  /** Tables and physical range lists handed out, in all. */
  handedOut = 0;
  /** Tables not unmapped. */
  mapped = 0;
  /** Pins not undone. */
  pinned = 0;
  /** Maps page by page, each page at an address of its own: what a table looks like after an unlucky move. */
  scattered = false;
  /** Refuses importers that cannot be revoked. */
  revocableOnly = false;
  /** How often a step was refused because it was told to fail. */
  refused = 0;
  readonly #failures = new Map<FailingStep, DmaBufError>();

  /** @param offers - interconnects, best first; without it `sgt`, `phys`, and `fd` where the memory has descriptors */
  constructor(memory: PhysicalMemory, offers: readonly InterconnectName[] = offersOf(memory)) {
    super({ memory, offers });
  }

  /** From now on that step fails with `error`; undefined: it works again. "map" also covers `open`. */
  fail(step: FailingStep, error: DmaBufError | undefined): void {
    if (error === undefined) this.#failures.delete(step);
    else this.#failures.set(step, error);
  }

  /** @internal */
  throwIfFailing(step: FailingStep): void {
    const error = this.#failures.get(step);
    if (error === undefined) return;
    this.refused += 1;
    throw error;
  }

  /** While revoked: the buffer's memory is elsewhere from now on, as after a move. Same length. */
  move(buffer: DmaBuf, ranges: readonly PhysRange[]): void {
    if (buffer.ops instanceof WatchedBuffer) buffer.ops.ranges = ranges;
  }

  /** What importers hold of the buffer and of this exporter now, as one line to compare. */
  held(buffer: DmaBuf): string {
    const attached = [...buffer.attachments].length;
    return (
      `${String(buffer.references)} references, ${String(attached)} attachments, ` +
      `${String(this.mapped)} mappings, ${String(this.pinned)} pins`
    );
  }

  protected override makeBuffer(ranges: readonly PhysRange[]): MemoryBuffer {
    return new WatchedBuffer(this, ranges, this.forgetBuffer);
  }
}

/** Memory of a kernel has descriptors too, and an importer over that kernel takes nothing else. */
function offersOf({ descriptors }: PhysicalMemory): readonly InterconnectName[] {
  return descriptors === undefined ? ["sgt", "phys"] : ["sgt", "phys", "fd"];
}

class WatchedBuffer extends MemoryBuffer {
  readonly #exporter: WatchedExporter;
  #fd: number | undefined;
  /** What undoes each table that was mapped page by page. */
  readonly #scattered = new Map<ScatterTable, () => void>();
  constructor(
    exporter: WatchedExporter,
    ranges: readonly PhysRange[],
    onRelease: (self: MemoryBuffer) => void,
  ) {
    super(exporter, ranges, onRelease);
    this.#exporter = exporter;
  }

  override attach(attachment: Attachment): void {
    this.#exporter.throwIfFailing("attach");
    if (this.#exporter.revocableOnly || this.revoked) super.attach(attachment);
    this.#exporter.attachments.push(attachment);
  }

  pin(_attachment: Attachment, _held: Held): void {
    this.#exporter.throwIfFailing("pin");
    this.#exporter.pinned += 1;
  }

  unpin(_attachment: Attachment, _held: Held): void {
    this.#exporter.pinned -= 1;
  }

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    this.#exporter.throwIfFailing("map");
    const table = this.#exporter.scattered
      ? this.#mapScattered(attachment, direction)
      : super.map(attachment, direction, held);
    this.#exporter.mapped += 1;
    this.#exporter.handedOut += 1;
    return table;
  }

  override unmap(
    attachment: Attachment,
    table: ScatterTable,
    direction: DmaDirection,
    held: Held,
  ): void {
    const undo = this.#scattered.get(table);
    this.#scattered.delete(table);
    if (undo === undefined) super.unmap(attachment, table, direction, held);
    else undo();
    this.#exporter.mapped -= 1;
  }

  /** Each page has an IOVA of its own; handed out from the top down they do not lie in order. */
  #mapScattered({ device }: Attachment, direction: DmaDirection): ScatterTable {
    const pages = this.ranges.flatMap(({ start, length }) =>
      Array.from({ length: toPfn(length) }, (_, i) => ({
        start: physAddr(start + BigInt(i) * PAGE_BYTES),
        length: PAGE_BYTES,
      })),
    );
    const { dma } = device;
    const addresses: DmaAddr[] = pages.map(
      (page) => dma?.mapPhys(page, direction) ?? busAddr(page.start),
    );
    const space = dma?.space ?? "bus";
    const spans = addresses.map((address) => ({ pfn: toPfn(address), pages: 1 }));
    const table = ScatterTable.fromSpans(space, spans);
    this.#scattered.set(table, () => {
      for (const address of addresses) dma?.unmapPhys(address, PAGE_BYTES, direction);
    });
    return table;
  }

  override open<N extends OpenInterconnectName>(
    attachment: Attachment,
    name: N,
    held: Held,
  ): Interconnects[N] {
    this.#exporter.throwIfFailing("map");
    const { descriptors } = this.exporter.memory;
    let opened: Interconnects[N];
    if (name === "fd" && descriptors !== undefined) {
      // The same refusal while revoked as for the ranges.
      this.#fd ??= descriptors.open(super.open(attachment, "phys", held));
      opened = this.#fd as Interconnects[N];
    } else {
      opened = super.open(attachment, name, held);
    }
    this.#exporter.handedOut += 1;
    return opened;
  }

  override async setRevoked(revoked: boolean, options: WaitOptions | undefined): Promise<void> {
    const { descriptors } = this.exporter.memory;
    const changes = this.#fd !== undefined && this.revoked !== revoked;
    if (changes && !revoked) descriptors?.setRevoked(this.#fd ?? -1, false);
    await super.setRevoked(revoked, options);
    if (changes && revoked) descriptors?.setRevoked(this.#fd ?? -1, true);
  }

  override release(): void {
    if (this.#fd !== undefined) this.exporter.memory.descriptors?.close(this.#fd);
    super.release();
  }
}
