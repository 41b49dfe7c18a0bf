import type { ExporterSubject } from "@peerbar/conformance";
import { MemoryBuffer, MemoryExporter, type PhysicalMemory } from "@peerbar/conformance/reference";
import {
  type Attachment,
  type DmaBuf,
  DmaBufError,
  type DmaDirection,
  type FenceUsage,
  type Held,
  type InterconnectName,
  type Interconnects,
  type OpenInterconnectName,
  type PhysRange,
  Reservation,
  ScatterTable,
  type WaitOptions,
} from "@peerbar/core";
import { memorySubject } from "../fixtures/subjects.js";
import {
  BarLikeBuffer,
  barLikeSubject,
  ExporterOf,
  PinnedBuffer,
  pinnedSubject,
} from "../fixtures/variants.js";
import {
  asksRevocableFirst,
  countsAfresh,
  countsFailedMaps,
  drainsTheFirst,
  keepsAReference,
  leaksARange,
  mapsBothWays,
  opensAgain,
  restoresAtOnce,
  waitsBeforeItTells,
} from "./change-exporters.js";
import {
  disablesFirst,
  exportsForeignMemory,
  frozenRoute,
  leaksWithoutFd,
  losesBit63,
  lowPowerHole,
  mapsPastTheEnd,
  narrowChunks,
  pollsEverything,
  readsTheDevice,
  reservesAtAttach,
  restoresAfterReset,
  tellsUnlocked,
  waitsAtTheEnd,
  wrapsRanges,
} from "./more-exporters.js";

type BufferClass = new (...args: ConstructorParameters<typeof MemoryBuffer>) => MemoryBuffer;

const over = (buffer: BufferClass, iommu = true): ExporterSubject =>
  memorySubject("wrong", (memory) => new ExporterOf(memory, (...args) => new buffer(...args)), {
    iommu,
  });

const by = (make: (memory: PhysicalMemory) => MemoryExporter): ExporterSubject =>
  memorySubject("wrong", make);

class Nameless extends MemoryBuffer {
  override readonly name = "";
}

class RefusesReturningDevices extends MemoryBuffer {
  readonly #left = new Set<string>();

  override attach(attachment: Attachment): void {
    super.attach(attachment);
    if (this.#left.has(attachment.device.name)) throw new DmaBufError("EBUSY", "attach", "again");
  }

  detach(attachment: Attachment): void {
    this.#left.add(attachment.device.name);
  }
}

class DeclinesPeersAtMap extends MemoryBuffer {
  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    if (attachment.buffer.size === 0x9000n) attachment.peer2peer = false;
    return super.map(attachment, direction, held);
  }
}

class TakesAnyMemoryImporter extends BarLikeBuffer {
  override attach(attachment: Attachment): void {
    MemoryBuffer.prototype.attach.call(this, attachment);
  }
}

class AdmitsPinnedOnly extends MemoryBuffer {
  override attach(): void {
    if (this.revoked) throw new DmaBufError("ENODEV", "attach", "revoked");
  }
}

class OpensNothing extends MemoryBuffer {
  override open<N extends OpenInterconnectName>(a: Attachment, name: N, held: Held) {
    const opened = super.open(a, name, held) as readonly PhysRange[];
    return opened.slice(1) as unknown as Interconnects[N];
  }
}

class TiresOfOffering extends MemoryBuffer {
  #asked = 0;

  override offers(attachment: Attachment): readonly InterconnectName[] {
    this.#asked += 1;
    return this.#asked > 4 ? ["sgt"] : super.offers(attachment);
  }
}

class HalvesLargeBuffers extends MemoryBuffer {
  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const table = super.map(attachment, direction, held);
    if (table.totalPages < 512) return table;
    return new ScatterTable(
      table.space,
      table.pfns,
      table.pages.map((pages) => pages / 2),
    );
  }
}

/** Hands out the pages of a one-range buffer backwards. */
class ReversesPages extends MemoryBuffer {
  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const table = super.map(attachment, direction, held);
    if (this.ranges.length > 1) return table;
    const first = table.pfns[0] ?? 0;
    const pages = Float64Array.from({ length: table.totalPages }, (_, i) => first + i).reverse();
    return new ScatterTable(table.space, pages, new Uint32Array(pages.length).fill(1));
  }
}

/** Hands out several ranges backwards. */
class ReversesRanges extends MemoryBuffer {
  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const { space, pfns, pages } = super.map(attachment, direction, held);
    return new ScatterTable(space, pfns.slice().reverse(), pages.slice().reverse());
  }
}

/** The draft's D3: mappings of one attachment share one IOVA. */
class SharesOneIova extends MemoryBuffer {
  readonly #first = new Map<Attachment, ScatterTable>();
  readonly #aliases = new Map<ScatterTable, ScatterTable>();

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const table = super.map(attachment, direction, held);
    const first = this.#first.get(attachment);
    if (first === undefined) {
      this.#first.set(attachment, table);
      return table;
    }
    const alias = new ScatterTable(first.space, first.pfns, first.pages);
    this.#aliases.set(alias, table);
    return alias;
  }

  override unmap(a: Attachment, table: ScatterTable, direction: DmaDirection, held: Held): void {
    super.unmap(a, this.#aliases.get(table) ?? table, direction, held);
    if (this.#first.get(a) === table) this.#first.delete(a);
  }
}

class ForgetsToUndo extends MemoryBuffer {
  #unmaps = 0;

  override unmap(a: Attachment, table: ScatterTable, direction: DmaDirection, held: Held): void {
    this.#unmaps += 1;
    const { space, pfns, pages } = table;
    const lost = this.#unmaps % 10 === 0 ? new ScatterTable(space, pfns, pages) : table;
    super.unmap(a, lost, direction, held);
  }
}

class SharesTables extends MemoryBuffer {
  readonly #tables: ScatterTable[] = [];

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const { space, pfns, pages } = super.map(attachment, direction, held);
    this.#tables[attachment.mappings] ??= new ScatterTable(space, pfns, pages);
    return this.#tables[attachment.mappings] ?? super.map(attachment, direction, held);
  }
}

class LaxReservation extends Reservation {
  override assertHeld(): void {
    // Believes everybody.
  }
}

class Unguarded extends MemoryExporter {
  protected override makeReservation(): Reservation {
    return new LaxReservation();
  }
}

class LeaksOnFailure extends MemoryBuffer {
  leaks(): boolean {
    return this.ranges.length === 1;
  }

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    try {
      return super.map(attachment, direction, held);
    } catch (error) {
      const [range] = this.ranges;
      if (this.leaks() && !this.revoked && range !== undefined) {
        attachment.device.dma?.mapPhys(range, direction);
      }
      throw error;
    }
  }
}

class LeaksOnLaterFailure extends LeaksOnFailure {
  override leaks(): boolean {
    return this.ranges.length > 1;
  }
}

class MisnamesUnreachable extends BarLikeBuffer {
  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    if (attachment.device.name === BarLikeBuffer.unreachable) {
      throw new DmaBufError("EOPNOTSUPP", "map", "no route");
    }
    return super.map(attachment, direction, held);
  }
}

class NeverUnpins extends PinnedBuffer {
  override unpin(): void {
    // Forgotten.
  }
}

class TellsTheRevokedAgain extends MemoryExporter {
  readonly #shared: DmaBuf[] = [];
  #revoked = false;

  override exportRanges(ranges: readonly PhysRange[]): DmaBuf {
    const buffer = super.exportRanges(ranges);
    this.#shared.push(buffer);
    return buffer;
  }

  override async revoke(options?: WaitOptions): Promise<void> {
    if (this.#revoked) {
      for (const buffer of this.#shared) {
        const held = await buffer.reservation.lock();
        buffer.invalidateMappings(held);
        held.release();
      }
    }
    this.#revoked = true;
    await super.revoke(options);
  }
}

class AttachesWhileRevoked extends MemoryBuffer {
  override attach(attachment: Attachment): void {
    if (this.revoked && [...(this.buffer?.attachments ?? [])].length > 0) return;
    super.attach(attachment);
  }
}

/** known-bugs B12: whoever maps from inside the notification gets through. */
class FlagsTooLate extends MemoryBuffer {
  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const { revoked } = this;
    if (this.buffer?.reservation.notifying === true) this.revoked = false;
    try {
      return super.map(attachment, direction, held);
    } finally {
      this.revoked = revoked;
    }
  }
}

/** Waits for one mapping only, known-bugs B2. */
class DrainsOne extends MemoryBuffer {
  #live = 0;

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const table = super.map(attachment, direction, held);
    this.#live += 1;
    return table;
  }

  override unmap(a: Attachment, table: ScatterTable, direction: DmaDirection, held: Held): void {
    super.unmap(a, table, direction, held);
    this.#live -= 1;
  }

  protected override async drain(options: WaitOptions | undefined): Promise<void> {
    if (this.#live < 2) await super.drain(options);
  }
}

/** Asked again, it takes the flag for the deed. */
class TrustsTheFlag extends MemoryExporter {
  #away = false;

  override async revoke(options?: WaitOptions): Promise<void> {
    if (this.#away) return;
    this.#away = true;
    await super.revoke(options);
  }

  override async restore(options?: WaitOptions): Promise<void> {
    this.#away = false;
    await super.restore(options);
  }
}

/** known-bugs B3. */
class KernelFencesOnly extends Reservation {
  override wait(_usage: FenceUsage, options?: WaitOptions): Promise<void> {
    return super.wait("kernel", options);
  }
}

class WaitsForKernelFencesOnly extends MemoryExporter {
  protected override makeReservation(): Reservation {
    return new KernelFencesOnly();
  }
}

/** known-bugs B1: the completion is not re-armed. */
class DrainsOnce extends MemoryBuffer {
  #drains = 0;

  protected override async drain(options: WaitOptions | undefined): Promise<void> {
    this.#drains += 1;
    if (this.#drains === 1) await super.drain(options);
  }
}

class ExportsAlive extends MemoryExporter {
  override exportRanges(ranges: readonly PhysRange[]): DmaBuf {
    const buffer = super.exportRanges(ranges);
    if (buffer.ops instanceof MemoryBuffer) buffer.ops.revoked = false;
    return buffer;
  }
}

class NeverForgets extends MemoryBuffer {
  override release(): void {
    // Keeps the buffer on its list.
  }
}

class RevokesTheDead extends NeverForgets {
  #used = false;

  override attach(attachment: Attachment): void {
    super.attach(attachment);
    this.#used = true;
  }

  override async setRevoked(revoked: boolean, options: WaitOptions | undefined): Promise<void> {
    if (!this.#used) this.buffer?.get().put();
    await super.setRevoked(revoked, options);
  }
}

/** A wrong exporter that would fail the case about large buffers too. */
const small = (subject: ExporterSubject): ExporterSubject => ({
  ...subject,
  capabilities: subject.capabilities.filter((name) => name !== "large"),
});

const withoutLive = (subject: ExporterSubject): ExporterSubject => ({
  ...subject,
  capabilities: subject.capabilities.filter((name) => name !== "live"),
});

/** One exporter for each case, wrong in just that. */
export const wrongExporters: Readonly<Record<string, ExporterSubject>> = {
  "export/size-and-reference": over(Nameless),
  "attach/independent": over(RefusesReturningDevices),
  "attach/decides-peer2peer-once": over(DeclinesPeersAtMap),
  "attach/refuses-importer-without-peer2peer": barLikeSubject(
    "wrong",
    (...args) => new TakesAnyMemoryImporter(...args),
  ),
  "attach/refuses-importer-that-cannot-be-revoked": over(AdmitsPinnedOnly),
  "offers/honoured": over(OpensNothing),
  "offers/refusal-names-both-lists": over(TiresOfOffering),
  "map/covers-the-buffer-in-whole-pages": over(HalvesLargeBuffers),
  "map/bytes-arrive": small(over(ReversesPages, false)),
  "map/several-ranges-in-order": small(over(ReversesRanges, false)),
  "map/two-maps-are-independent": over(SharesOneIova),
  "unmap/gives-everything-back": over(ForgetsToUndo),
  "unmap/foreign-table-refused": small(over(SharesTables, false)),
  "map/without-the-lock-refused": by((memory) => new Unguarded({ memory })),
  "map/failure-leaves-nothing": over(LeaksOnFailure),
  "map/failure-in-a-later-range-leaves-nothing": over(LeaksOnLaterFailure),
  "map/unreachable-device-refused": barLikeSubject(
    "wrong",
    (...args) => new MisnamesUnreachable(...args),
  ),
  "map/static-importer-is-pinned-around-map": pinnedSubject(
    "wrong",
    (...args) => new NeverUnpins(...args),
  ),
  "revoke/tells-every-importer-once": by((memory) => new TellsTheRevokedAgain({ memory })),
  "revoke/map-gives-enodev-until-restored": over(AttachesWhileRevoked),
  "revoke/no-map-slips-in": over(FlagsTooLate),
  "revoke/waits-for-the-last-unmap": over(DrainsOne),
  "revoke/two-at-once": by((memory) => new TrustsTheFlag({ memory })),
  "revoke/waits-for-fences-of-every-usage": by(
    (memory) => new WaitsForKernelFencesOnly({ memory }),
  ),
  "revoke/cycles": over(DrainsOnce),
  "revoke/exported-while-revoked": by((memory) => new ExportsAlive({ memory })),
  "release/once-after-the-last-reference": over(NeverForgets),
  "release/revoke-skips-released-buffers": withoutLive(over(RevokesTheDead)),
  "export/failed-fd-releases-once": leaksWithoutFd,
  "export/range-bounds": wrapsRanges,
  "export/size-with-bit-63": losesBit63,
  "export/refuses-what-it-does-not-own": exportsForeignMemory,
  "attach/takes-no-iova": reservesAtAttach,
  "map/more-than-4-gib": narrowChunks,
  "map/asks-for-the-way-each-time": frozenRoute,
  "close/drains-before-it-disables": disablesFirst,
  "close/buffers-stay-objects": readsTheDevice,
  "revoke/reset-does-not-restore": restoresAfterReset,
  "revoke/low-power-holds": lowPowerHole,
  "buffer/poll-by-direction": pollsEverything,
  "buffer/cpu-access-waits-at-its-begin": waitsAtTheEnd,
  "buffer/invalidate-needs-the-lock": tellsUnlocked,
  "buffer/mmap-bounds": mapsPastTheEnd,
  "revoke/drains-every-buffer": drainsTheFirst,
  "revoke/waits-for-fences-of-the-invalidation": waitsBeforeItTells,
  "revoke/waits-for-no-failed-map": countsFailedMaps,
  "revoke/restore-waits-its-turn": restoresAtOnce,
  "restore/of-what-is-there": countsAfresh,
  "release/after-revoke-and-restore": keepsAReference,
  "close/is-final": opensAgain,
  "attach/order-of-refusals": asksRevocableFirst,
  "map/direction-is-permission": mapsBothWays,
  "map/without-iova-space": leaksARange,
};
