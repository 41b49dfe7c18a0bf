import type { ImportedBuffer, ImporterCapability, ImporterSubject } from "@peerbar/conformance";
import { SimpleImport, SimpleImporter } from "@peerbar/conformance/reference";
import {
  type Attachment,
  type DmaBuf,
  DmaBufError,
  type DmaBufReference,
  type DmaDevice,
  type Held,
  type ScatterEntry,
  type ScatterTable,
  type Slice,
} from "@peerbar/core";
import { simpleImporterSubject } from "../fixtures/importers.js";

/** Keys of one device: the lowest free one first. */
class Keys {
  readonly #owners: (KeyedImport | undefined)[] = [];

  take(owner: KeyedImport): number {
    const free = this.#owners.indexOf(undefined);
    const key = free < 0 ? this.#owners.length : free;
    this.#owners[key] = owner;
    return key;
  }

  give(key: number, owner: KeyedImport): void {
    if (this.#owners[key] === owner) this.#owners[key] = undefined;
  }

  /** Remote work names a key, not an object. */
  owner(key: number): KeyedImport | undefined {
    return this.#owners[key];
  }
}

/** The reference importer with keys, re-registration, and a door for in-kernel users: what RDMA and iommufd add. */
export class KeyedImporter extends SimpleImporter {
  readonly keys = new Keys();

  protected override makeImport(reference: DmaBufReference, slice: Slice): KeyedImport {
    return new KeyedImport(this, reference, slice);
  }

  /** What an import looks like from outside. */
  async register(buffer: DmaBuf, slice: Slice): Promise<ImportedBuffer> {
    let current = keyed(await this.import(buffer, slice));
    return {
      key: current.key,
      close: () => current.close(),
      write: async (offset, bytes) =>
        (await this.keys.owner(current.key)?.write(offset, bytes)) ?? false,
      pages: () => current.pages(),
      rereg: async (memory) => {
        if (memory === undefined) await current.reregInPlace();
        else current = await this.replace(current, memory, slice);
      },
    };
  }

  /** New memory first, then the old is let go, without any lock. */
  protected async replace(old: KeyedImport, memory: DmaBuf, slice: Slice): Promise<KeyedImport> {
    const fresh = keyed(await this.import(memory, slice));
    await old.close();
    return fresh;
  }
}

export class KeyedImport extends SimpleImport {
  readonly key: number;
  protected readonly owner: KeyedImporter;
  protected dead = false;

  constructor(...[importer, reference, slice]: ConstructorParameters<typeof SimpleImport>) {
    super(importer, reference, slice);
    if (!(importer instanceof KeyedImporter)) throw new TypeError("not a keyed importer");
    this.owner = importer;
    this.key = importer.keys.take(this);
  }

  override invalidateMappings(attachment: Attachment, held: Held): void {
    super.invalidateMappings(attachment, held);
    this.dead = true;
  }

  /** A dead translation is not validated again (rdma-umem R29). */
  async reregInPlace(): Promise<void> {
    const held = await this.buffer.reservation.lock();
    try {
      if (this.dead) throw new DmaBufError("EINVAL", "rereg", "the import was revoked");
    } finally {
      held.release();
    }
  }

  pages(): unknown {
    throw new DmaBufError("EINVAL", "pages", "a dma-buf has no pages for the CPU");
  }

  override async close(): Promise<void> {
    await super.close();
    this.owner.keys.give(this.key, this);
  }
}

function keyed(imported: SimpleImport): KeyedImport {
  if (imported instanceof KeyedImport) return imported;
  throw new TypeError("not a keyed import");
}

type KeyedClass = new (...args: ConstructorParameters<typeof KeyedImport>) => KeyedImport;

const extra: readonly ImporterCapability[] = ["keys", "rereg", "cpu-pages"];

/** The keyed importer, or a variant of it, as a subject. */
export function keyedSubject(
  name: string,
  make: (device: DmaDevice) => KeyedImporter = (device) => new KeyedImporter(device, "pinned"),
): ImporterSubject {
  let importer: KeyedImporter | undefined;
  const plain = simpleImporterSubject(name, "pinned", (device) => {
    importer = make(device);
    return importer;
  });
  return {
    ...plain,
    capabilities: [...plain.capabilities, ...extra],
    setup: async () => {
      const { memory } = await plain.setup();
      const own = importer;
      if (own === undefined) throw new Error("no importer was made");
      return { memory, import: (buffer, slice) => own.register(buffer, slice) };
    },
  };
}

const keyedWith = (make: KeyedClass): ImporterSubject =>
  keyedSubject(
    "wrong",
    (device) =>
      new (class extends KeyedImporter {
        protected override makeImport(reference: DmaBufReference, slice: Slice): KeyedImport {
          return new make(this, reference, slice);
        }
      })(device, "pinned"),
  );

/** known-bugs B26: an in-kernel user gets what it asked for. */
export const givesCpuPages = keyedWith(
  class extends KeyedImport {
    override pages(): unknown {
      return this.table?.pfns;
    }
  },
);

/** known-bugs B33: the key is free as soon as the exporter has revoked. */
export const freesTheKey = keyedWith(
  class extends KeyedImport {
    override invalidateMappings(attachment: Attachment, held: Held): void {
      super.invalidateMappings(attachment, held);
      this.owner.keys.give(this.key, this);
    }
  },
);

/** known-bugs B34: a change of rights writes the hardware entry anew, valid. */
export const revivesByRereg = keyedWith(
  class extends KeyedImport {
    #revived = false;

    override async reregInPlace(): Promise<void> {
      const held = await this.buffer.reservation.lock();
      this.#revived = this.dead;
      held.release();
    }

    override async write(offset: bigint, bytes: Uint8Array): Promise<boolean> {
      if (!this.#revived) return super.write(offset, bytes);
      const held = await this.buffer.reservation.lock();
      try {
        this.table ??= this.attachment?.map("bidirectional", held);
        const at = this.table?.locate(this.slice.offset + offset);
        if (at === undefined) return false;
        return (await this.importer.device.engine?.write(at.address, bytes))?.status === "ok";
      } finally {
        held.release();
      }
    }
  },
);

/** known-bugs B35: the old memory is released with its reservation held, which the release locks itself. */
export const releasesUnderTheLock = keyedSubject(
  "wrong",
  (device) =>
    new (class extends KeyedImporter {
      protected override async replace(
        old: KeyedImport,
        memory: DmaBuf,
        slice: Slice,
      ): Promise<KeyedImport> {
        const held = await old.buffer.reservation.lock();
        try {
          return await super.replace(old, memory, slice);
        } finally {
          held.release();
        }
      }
    })(device, "pinned"),
);

/** Works in pages as large as the first table allowed, as a NIC's translation table does. */
class PagedImport extends SimpleImport {
  #shift: bigint | undefined;

  /** Whether the page size is looked at again. */
  protected get recomputes(): boolean {
    return true;
  }

  protected override locate(table: ScatterTable, offset: bigint): ScatterEntry {
    if (this.#shift === undefined || this.recomputes) this.#shift = bestShift(table);
    const size = 1n << this.#shift;
    const within = offset & (size - 1n);
    const base = table.locate(offset - within);
    return {
      address: (base.address + within) as ScatterEntry["address"],
      length: Number(size - within),
    };
  }
}

/** The largest power of two that divides every address and every length. */
function bestShift(table: ScatterTable): bigint {
  let all = 0n;
  for (const { address, length } of table) all |= address | BigInt(length);
  let shift = 12n;
  while ((all & ((2n << shift) - 1n)) === 0n) shift += 1n;
  return shift;
}

class StalePageSize extends PagedImport {
  protected override get recomputes(): boolean {
    return false;
  }
}

function pagedSubject(name: string, make: typeof PagedImport): ImporterSubject {
  return simpleImporterSubject(
    name,
    "dynamic",
    (device) =>
      new (class extends SimpleImporter {
        protected override makeImport(reference: DmaBufReference, slice: Slice): SimpleImport {
          return new make(this, reference, slice);
        }
      })(device, "dynamic"),
  );
}

/** The importer whose page size follows the table. */
export const paged = pagedSubject("simple importer, in large pages", PagedImport);
/** known-bugs B42. */
export const stalePageSize = pagedSubject("wrong", StalePageSize);
