import {
  type Attachment,
  DmaBuf,
  DmaBufError,
  type DmaDirection,
  type ExporterOps,
  mapPhysVec,
  type PhysRange,
  type ScatterTable,
  unmapPhysVec,
} from "@peerbar/core";

/** Shares memory that can be taken back. */
export class MyBuffer implements ExporterOps {
  readonly name = "my-exporter";
  readonly buffer: DmaBuf;
  readonly #ranges: readonly PhysRange[];
  #revoked = false;
  #mappings = 0;
  #drained: () => void = () => undefined;

  constructor(ranges: readonly PhysRange[]) {
    this.#ranges = ranges;
    const size = ranges.reduce((sum, range) => sum + range.length, 0n);
    this.buffer = DmaBuf.export({ ops: this, size });
  }

  offers(): readonly ["sgt"] {
    return ["sgt"];
  }

  attach(attachment: Attachment): void {
    if (this.#revoked) throw new DmaBufError("ENODEV", "attach", "the memory is away");
    if (!attachment.revocable) {
      throw new DmaBufError("EOPNOTSUPP", "attach", "the importer cannot be told to let go");
    }
  }

  map(attachment: Attachment, direction: DmaDirection): ScatterTable {
    if (this.#revoked) throw new DmaBufError("ENODEV", "map", "the memory is away");
    const route = { kind: "host-bridge" } as const;
    const table = mapPhysVec(attachment.device, route, this.#ranges, direction);
    this.#mappings += 1;
    return table;
  }

  unmap(_attachment: Attachment, table: ScatterTable): void {
    unmapPhysVec(table);
    this.#mappings -= 1;
    if (this.#mappings === 0) this.#drained();
  }

  release(): void {
    // Plain memory: nothing to give back.
  }

  /** Takes the memory away: safe to reuse when this resolves. */
  async revoke(): Promise<void> {
    if (this.#revoked) return;
    const held = await this.buffer.reservation.lock();
    this.#revoked = true; // first, so that nobody maps again
    this.buffer.invalidateMappings(held);
    await this.buffer.reservation.wait("bookkeep"); // every fence
    held.release(); // importers need the lock to unmap
    if (this.#mappings === 0) return;
    await new Promise<void>((resolve) => {
      this.#drained = resolve;
    });
  }

  async restore(): Promise<void> {
    const held = await this.buffer.reservation.lock();
    this.#revoked = false;
    held.release();
  }
}
