import type { ImporterSubject } from "@peerbar/conformance";
import {
  SimpleImport,
  SimpleImporter,
  type SimpleImportMode,
} from "@peerbar/conformance/reference";
import {
  type Attachment,
  type DmaBuf,
  DmaBufError,
  type DmaBufReference,
  type DmaDevice,
  type Held,
  type ImporterOps,
  isDmaBufError,
  type ScatterTable,
  type Slice,
} from "@peerbar/core";
import { simpleImporterSubject } from "../fixtures/importers.js";
import {
  keepsAddresses,
  postsUnlocked,
  tellsTheLast,
  unmapsForBoth,
  waitsOnce,
  writesAfterClose,
} from "./dma-importers.js";
import {
  freesTheKey,
  givesCpuPages,
  releasesUnderTheLock,
  revivesByRereg,
  stalePageSize,
} from "./more-importers.js";

type ImportClass = new (...args: ConstructorParameters<typeof SimpleImport>) => SimpleImport;

class ImporterOf extends SimpleImporter {
  readonly #make: ImportClass;

  constructor(device: DmaDevice, mode: SimpleImportMode, make: ImportClass) {
    super(device, mode);
    this.#make = make;
  }

  protected override makeImport(reference: DmaBufReference, slice: Slice): SimpleImport {
    return new this.#make(this, reference, slice);
  }
}

const over = (make: ImportClass, mode: SimpleImportMode = "dynamic"): ImporterSubject =>
  simpleImporterSubject("wrong", mode, (device) => new ImporterOf(device, mode, make));

/** At the memory itself, so that a stale address still reaches it. */
const direct = (make: ImportClass): ImporterSubject =>
  simpleImporterSubject(
    "wrong",
    "dynamic",
    ({ dma: _dma, ...device }) => new ImporterOf(device, "dynamic", make),
    { iommu: false },
  );

const by = (make: (device: DmaDevice) => SimpleImporter): ImporterSubject =>
  simpleImporterSubject("wrong", "dynamic", make);

class RefusesPeerMemory extends SimpleImport {
  override readonly allowPeer2Peer = false;
}

class HoldsNoReference extends SimpleImport {
  constructor(...[importer, reference, slice]: ConstructorParameters<typeof SimpleImport>) {
    super(importer, reference, slice);
    reference.put();
  }
}

class ClosesOnce extends SimpleImport {
  #closed = false;

  override close(): Promise<void> {
    if (this.#closed) throw new DmaBufError("EBADF", "close", "closed");
    this.#closed = true;
    return super.close();
  }
}

class ClosesItsTwin extends SimpleImport {
  static readonly live = new Map<DmaBuf, Set<ClosesItsTwin>>();

  override async begin(): Promise<void> {
    const live = ClosesItsTwin.live.get(this.buffer) ?? new Set();
    ClosesItsTwin.live.set(this.buffer, live.add(this));
    await super.begin();
  }

  override async close(): Promise<void> {
    const live = ClosesItsTwin.live.get(this.buffer) ?? new Set();
    live.delete(this);
    await super.close();
    for (const twin of [...live]) await twin.close();
  }
}

class OffByOne extends SimpleImporter {
  override import(buffer: DmaBuf, { offset, length }: Slice): Promise<SimpleImport> {
    const past = offset + length === buffer.size + 1n ? 1n : 0n;
    return super.import(buffer, { offset, length: length - past });
  }
}

class WrapsAround extends SimpleImporter {
  override import(buffer: DmaBuf, { offset, length }: Slice): Promise<SimpleImport> {
    return super.import(
      buffer,
      offset + length > 1n << 64n ? { offset: 0n, length: 0x1000n } : { offset, length },
    );
  }
}

/** Writes into a slice that does not begin at 0 as if it did. */
class ForgetsTheOffset extends SimpleImport {
  protected override locate(table: ScatterTable, offset: bigint) {
    const missed = this.slice.offset === 0x2000n ? this.slice.offset : 0n;
    return super.locate(table, offset - missed);
  }
}

/** known-bugs B39: base of the first entry plus offset. */
class FirstEntryOnly extends SimpleImport {
  protected override locate(table: ScatterTable, offset: bigint) {
    const first = table.entry(0);
    return { ...first, address: (first.address + offset) as typeof first.address };
  }
}

/** Finds where a write begins, and trusts that what follows is the rest of it. */
class TrustsTheFirstEntry extends SimpleImport {
  protected override async writeTable(table: ScatterTable, offset: bigint, bytes: Uint8Array) {
    const { address } = this.locate(table, this.slice.offset + offset);
    return (await this.importer.device.engine?.write(address, bytes))?.status === "ok";
  }
}

/** The whole buffer is mapped, so a write past the slice works. */
class ForgetsTheEnd extends SimpleImport {
  protected override contains(): boolean {
    return true;
  }
}

/** Turns one errno into another. */
class Renames extends SimpleImporter {
  override async import(buffer: DmaBuf, slice: Slice): Promise<SimpleImport> {
    try {
      return await super.import(buffer, slice);
    } catch (error) {
      if (isDmaBufError(error) && error.code === "EBUSY") {
        throw new DmaBufError("EIO", "import", "attach failed");
      }
      throw error;
    }
  }
}

class RenamesRevoked extends SimpleImporter {
  override async import(buffer: DmaBuf, slice: Slice): Promise<SimpleImport> {
    try {
      return await super.import(buffer, slice);
    } catch (error) {
      if (isDmaBufError(error) && error.code === "ENODEV" && error.syscall.endsWith("attach")) {
        throw new DmaBufError("EINVAL", "import", "attach failed");
      }
      throw error;
    }
  }
}

class IgnoresPinErrors extends SimpleImport {
  protected override pin(held: Held): void {
    try {
      super.pin(held);
    } catch {
      // Goes on without the pin.
    }
  }
}

class LeaksOnMapError extends SimpleImport {
  #failed = false;

  protected override async mapHeld(held: Held): Promise<void> {
    try {
      await super.mapHeld(held);
    } catch (error) {
      this.#failed = isDmaBufError(error) && error.code === "EREMOTEIO";
      throw error;
    }
  }

  override async close(): Promise<void> {
    if (!this.#failed) await super.close();
  }
}

class AsksNobody extends SimpleImport {
  protected override negotiate(): void {
    // Maps whatever the exporter offers.
  }
}

/** Revocable in one import of a buffer, not in the next. */
class RevocableOnce extends SimpleImport {
  static readonly seen = new WeakMap<DmaBuf, number>();

  protected override attach(): Attachment {
    const count = (RevocableOnce.seen.get(this.buffer) ?? 0) + 1;
    RevocableOnce.seen.set(this.buffer, count);
    if (count === 1) return super.attach();
    const { device } = this.importer;
    const pinnedOnly: ImporterOps = { allowPeer2Peer: true };
    return this.buffer.attach(device, pinnedOnly);
  }
}

class IgnoresKernelFences extends SimpleImport {
  protected override async mapHeld(held: Held): Promise<void> {
    this.table ??= this.attachment?.map("bidirectional", held);
    await Promise.resolve();
  }
}

class UnmapsLate extends SimpleImport {
  override invalidateMappings(): void {
    void this.#later();
  }

  async #later(): Promise<void> {
    for (let i = 0; i < 2000; i++) await Promise.resolve();
    const held = await this.buffer.reservation.lock();
    this.unmapHeld(held);
    held.release();
  }
}

/** Sees success where nothing was written, once the memory is gone: for the buffer's second page only. */
class LiesAboutThePast extends SimpleImport {
  override async write(offset: bigint, bytes: Uint8Array): Promise<boolean> {
    return (await super.write(offset, bytes)) || offset === 0x1000n;
  }
}

class ThrowsAtTheThird extends SimpleImport {
  #told = 0;

  override invalidateMappings(attachment: Attachment, held: Held): void {
    this.#told += 1;
    if (this.#told === 3) throw new DmaBufError("EIO", "invalidate", "told too often");
    super.invalidateMappings(attachment, held);
  }
}

/** Leaks a reference to a buffer that was taken back from it before. */
class LeaksAfterRevoke extends SimpleImport {
  static readonly told = new WeakSet<DmaBuf>();
  readonly #again = LeaksAfterRevoke.told.has(this.buffer);

  override invalidateMappings(attachment: Attachment, held: Held): void {
    LeaksAfterRevoke.told.add(this.buffer);
    super.invalidateMappings(attachment, held);
  }

  override async close(): Promise<void> {
    if (this.#again) this.buffer.get();
    await super.close();
  }
}

class NeverMapsAgain extends SimpleImport {
  #dead = false;

  override invalidateMappings(attachment: Attachment, held: Held): void {
    this.#dead = true;
    super.invalidateMappings(attachment, held);
  }

  override write(offset: bigint, bytes: Uint8Array): Promise<boolean> {
    return this.#dead ? Promise.resolve(false) : super.write(offset, bytes);
  }
}

/** Pinned, and back at work once the memory is. */
class RisesAgain extends SimpleImport {
  override invalidateMappings(_attachment: Attachment, held: Held): void {
    this.unmapHeld(held);
    this.unpinOnce(held);
  }

  unpinOnce(held: Held): void {
    if ((this.attachment?.pins ?? 0) > 0) this.unpin(held);
  }
}

class RenamesLostRace extends SimpleImport {
  protected override async mapHeld(held: Held): Promise<void> {
    try {
      await super.mapHeld(held);
    } catch (error) {
      if (isDmaBufError(error) && error.code === "ENODEV") {
        throw new DmaBufError("EIO", "import", "map failed");
      }
      throw error;
    }
  }
}

/** Unmaps what it saw mapped before it had the lock. */
class LooksBeforeTheLock extends SimpleImport {
  override async close(): Promise<void> {
    const { table, attachment } = this;
    if (table !== undefined && attachment !== undefined) {
      const held = await this.buffer.reservation.lock();
      try {
        attachment.unmap(table, "bidirectional", held);
        this.table = undefined;
      } finally {
        held.release();
      }
    }
    await super.close();
  }
}

/** One importer for each case, wrong in just that. */
export const wrongImporters: Readonly<Record<string, ImporterSubject>> = {
  "attach/allows-peer2peer": over(RefusesPeerMemory),
  "import/keeps-the-buffer-alive": over(HoldsNoReference),
  "close/leaves-nothing": over(ClosesOnce),
  "import/twice-is-independent": over(ClosesItsTwin),
  "import/bounds": by((device) => new OffByOne(device)),
  "import/wrapping-slice": by((device) => new WrapsAround(device)),
  "import/bytes-arrive": over(ForgetsTheOffset),
  "import/several-ranges": direct(FirstEntryOnly),
  "import/write-crosses-entries": over(TrustsTheFirstEntry),
  "import/write-past-the-slice": over(ForgetsTheEnd),
  "error/attach-passed-through": by((device) => new Renames(device)),
  "error/pin-passed-through": over(IgnoresPinErrors, "pinned"),
  "error/map-passed-through": over(LeaksOnMapError),
  "error/no-common-interconnect": over(AsksNobody),
  "error/revoked-buffer": by((device) => new RenamesRevoked(device)),
  "error/refusal-of-revocable-exporters": over(RevocableOnce),
  "import/waits-for-kernel-fences": over(IgnoresKernelFences),
  "invalidate/unmaps-in-bounded-time": over(UnmapsLate),
  "invalidate/no-byte-moves-after-revoke": over(LiesAboutThePast),
  "invalidate/second-is-harmless": over(ThrowsAtTheThird, "pinned"),
  "close/after-revoke-leaves-nothing": over(LeaksAfterRevoke),
  "restore/dynamic-importer-works-again": over(NeverMapsAgain),
  "restore/final-importer-stays-dead": over(RisesAgain, "pinned"),
  "race/revoke-during-import": over(RenamesLostRace),
  "race/revoke-during-close": over(LooksBeforeTheLock),
  "import/no-cpu-pages": givesCpuPages,
  "invalidate/key-stays-taken": freesTheKey,
  "rereg/does-not-revive": revivesByRereg,
  "rereg/takes-other-memory": releasesUnderTheLock,
  "restore/scattered-after-a-move": stalePageSize,
  "close/ends-dma": writesAfterClose,
  "race/two-closes": unmapsForBoth,
  "race/revoke-during-write": postsUnlocked,
  "invalidate/reaches-every-import": tellsTheLast,
  "invalidate/waits-for-the-move": waitsOnce,
  "restore/memory-elsewhere": keepsAddresses,
};
