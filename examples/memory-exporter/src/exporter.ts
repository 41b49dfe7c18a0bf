import {
  type Attachment,
  DmaBuf,
  DmaBufError,
  type DmaDirection,
  type ExporterOps,
  type Held,
  type InterconnectName,
  type Interconnects,
  Lock,
  mapPhysVec,
  type OpenInterconnectName,
  type PhysRange,
  type ScatterTable,
  unmapPhysVec,
} from "@peerbar/core";

/** Bytes of a buffer for an importer in the same process. Dead after a revoke: every call then throws ENODEV. */
export interface SharedBytes {
  readonly length: number;
  /** Copies `into.length` bytes from `offset` on. */
  read(offset: number, into: Uint8Array): void;
  write(offset: number, bytes: Uint8Array): void;
}

declare module "@peerbar/core" {
  interface Interconnects {
    /** Ours: no device, no addresses, just the bytes. Importers that know it negotiate for it by this name. */
    "example-bytes": SharedBytes;
  }
}

/** One piece of plain memory: where devices find it, and its bytes. */
export interface PlainMemory {
  readonly range: PhysRange;
  readonly bytes: Uint8Array;
}

/** Shares one piece of memory as a dma-buf that can be taken back. */
export class MemoryExporter implements ExporterOps {
  readonly name = "example-memory";
  readonly buffer: DmaBuf;
  readonly #memory: PlainMemory;
  readonly #onRelease: () => void;
  /** One revoke or restore at a time. */
  readonly #changing = new Lock("example-memory");
  #revoked: boolean;
  /** Grows with every revoke: what was opened before is dead. */
  #life = 0;
  #mappings = 0;
  #drained: () => void = () => undefined;

  /** @param options.revoked - the memory is away now: the buffer is born revoked. */
  constructor(
    memory: PlainMemory,
    options: { readonly revoked?: boolean; readonly onRelease?: () => void } = {},
  ) {
    this.#memory = memory;
    this.#revoked = options.revoked ?? false;
    this.#onRelease = options.onRelease ?? (() => undefined);
    this.buffer = DmaBuf.export({ ops: this, size: memory.range.length });
  }

  /** Best first: an importer in this process needs no DMA addresses. */
  offers(): readonly InterconnectName[] {
    return ["example-bytes", "sgt"];
  }

  attach(attachment: Attachment): void {
    this.#mustBeHere("attach");
    if (!attachment.revocable) {
      throw new DmaBufError("EOPNOTSUPP", "attach", "the importer cannot be told to let go");
    }
  }

  map(attachment: Attachment, direction: DmaDirection): ScatterTable {
    this.#mustBeHere("map");
    const route = { kind: "host-bridge" } as const;
    const table = mapPhysVec(attachment.device, route, [this.#memory.range], direction);
    this.#mappings += 1;
    return table;
  }

  unmap(_attachment: Attachment, table: ScatterTable): void {
    unmapPhysVec(table);
    this.#mappings -= 1;
    if (this.#mappings === 0) this.#drained();
  }

  /** core asks only for what `offers` names, and never for `sgt`: that goes through map. */
  open<N extends OpenInterconnectName>(_attachment: Attachment, name: N): Interconnects[N] {
    this.#mustBeHere("open");
    if (name !== "example-bytes") throw new DmaBufError("EOPNOTSUPP", "open", `no ${name} here`);
    return this.#open() as Interconnects[N];
  }

  release(): void {
    this.#onRelease();
  }

  /**
   * Takes the memory away. When it resolves no mapping is left, no opened bytes work, and the memory may be used for something else.
   * Called twice, the second waits for the first to be done.
   */
  revoke(): Promise<void> {
    return this.#change(async () => {
      if (this.#revoked) return;
      await this.#locked(async (held) => {
        this.#revoked = true; // first, so that nobody maps again
        this.#life += 1;
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

  #open(): SharedBytes {
    const { bytes } = this.#memory;
    const life = this.#life;
    const part = (offset: number, length: number): Uint8Array => {
      if (life !== this.#life)
        throw new DmaBufError("ENODEV", "bytes", "the memory was taken back");
      if (offset < 0 || offset + length > bytes.length) {
        throw new DmaBufError("EINVAL", "bytes", `${offset}+${length} is past the end`);
      }
      return bytes.subarray(offset, offset + length);
    };
    return {
      length: bytes.length,
      read: (offset, into) => {
        into.set(part(offset, into.length));
      },
      write: (offset, from) => {
        part(offset, from.length).set(from);
      },
    };
  }

  #mustBeHere(operation: string): void {
    if (this.#revoked) throw new DmaBufError("ENODEV", operation, "the memory is away");
  }
}
