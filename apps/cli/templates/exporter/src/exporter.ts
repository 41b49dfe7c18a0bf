import {
  type Attachment,
  DmaBuf,
  DmaBufError,
  type DmaDirection,
  type ExporterOps,
  type Held,
  Lock,
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
  readonly #changing = new Lock("my-exporter"); // one revoke or restore at a time
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

  /** Takes the memory away: safe to reuse when this resolves. Called twice, the second waits for the first to be done. */
  revoke(): Promise<void> {
    return this.#change(async () => {
      if (this.#revoked) return;
      await this.#locked(async (held) => {
        this.#revoked = true; // first, so that nobody maps again
        this.buffer.invalidateMappings(held);
        await this.buffer.reservation.wait("bookkeep"); // every fence
      });
      if (this.#mappings === 0) return; // importers need the lock to unmap: it is free here
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    });
  }

  restore(): Promise<void> {
    return this.#change(() =>
      this.#locked(() => {
        this.#revoked = false;
      }),
    );
  }

  async #change(run: () => Promise<void>): Promise<void> {
    const changing = await this.#changing.lock();
    try {
      await run();
    } finally {
      changing.release();
    }
  }

  async #locked(run: (held: Held) => void | Promise<void>): Promise<void> {
    const held = await this.buffer.reservation.lock();
    try {
      await run(held);
    } finally {
      held.release();
    }
  }
}
