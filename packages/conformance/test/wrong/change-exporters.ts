import type { ExporterSubject } from "@peerbar/conformance";
import { MemoryBuffer, MemoryExporter, type PhysicalMemory } from "@peerbar/conformance/reference";
import {
  type Attachment,
  type DmaBuf,
  DmaBufError,
  type DmaDirection,
  type Held,
  type PhysRange,
  type ScatterTable,
  type WaitOptions,
} from "@peerbar/core";
import { DeviceExporter, deviceSubject } from "../fixtures/device-exporter.js";
import { memorySubject } from "../fixtures/subjects.js";
import { BarLikeBuffer, barLikeSubject, ExporterOf } from "../fixtures/variants.js";

type BufferClass = new (...args: ConstructorParameters<typeof MemoryBuffer>) => MemoryBuffer;

const over = (buffer: BufferClass): ExporterSubject =>
  memorySubject("wrong", (memory) => new ExporterOf(memory, (...args) => new buffer(...args)));

const by = (make: (memory: PhysicalMemory) => MemoryExporter): ExporterSubject =>
  memorySubject("wrong", make);

/** Waits for what is mapped of the first live buffer only. */
class DrainsTheFirst extends MemoryBuffer {
  static readonly made = new WeakMap<MemoryExporter, MemoryBuffer[]>();

  constructor(...args: ConstructorParameters<typeof MemoryBuffer>) {
    super(...args);
    const made = DrainsTheFirst.made.get(this.exporter) ?? [];
    DrainsTheFirst.made.set(this.exporter, [...made, this]);
  }

  protected override async drain(options: WaitOptions | undefined): Promise<void> {
    const made = DrainsTheFirst.made.get(this.exporter) ?? [];
    const first = made.find(({ buffer }) => buffer?.released === false);
    if (first === this) await super.drain(options);
  }
}

export const drainsTheFirst = over(DrainsTheFirst);

/** Waits for the fences it knows of, and then tells the importers, who add theirs. */
class WaitsBeforeItTells extends MemoryBuffer {
  override async setRevoked(revoked: boolean, options: WaitOptions | undefined): Promise<void> {
    const { buffer } = this;
    if (buffer === undefined || buffer.released || this.revoked === revoked) return;
    const reference = buffer.get();
    const held = await buffer.reservation.lock(options);
    try {
      if (revoked) this.revoked = true;
      await buffer.reservation.wait("bookkeep", options);
      buffer.invalidateMappings(held);
      this.revoked = revoked;
    } finally {
      held.release();
    }
    if (revoked) await this.drain(options);
    reference.put();
  }
}

export const waitsBeforeItTells = over(WaitsBeforeItTells);

/** Counts a mapping before it has worked: the reference that an error path forgets. */
class CountsFailedMaps extends MemoryBuffer {
  #forgotten = 0;

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    try {
      return super.map(attachment, direction, held);
    } catch (error) {
      if (!this.revoked) this.#forgotten += 1;
      throw error;
    }
  }

  protected override async drain(options: WaitOptions | undefined): Promise<void> {
    await super.drain(options);
    if (this.#forgotten > 0) await new Promise<never>(() => undefined);
  }
}

export const countsFailedMaps = over(CountsFailedMaps);

/** Knows its buffers, for those who change them behind the reference exporter's back. */
class Knowing extends MemoryExporter {
  protected readonly shared: DmaBuf[] = [];

  override exportRanges(ranges: readonly PhysRange[]): DmaBuf {
    const buffer = super.exportRanges(ranges);
    this.shared.push(buffer);
    return buffer;
  }

  protected *alive(): Generator<DmaBuf> {
    for (const buffer of this.shared) if (!buffer.released) yield buffer;
  }
}

/** A restore clears the flag at once, whoever is still draining. */
class RestoresAtOnce extends Knowing {
  override restore(options?: WaitOptions): Promise<void> {
    for (const { ops } of this.alive()) if (ops instanceof MemoryBuffer) ops.revoked = false;
    return super.restore(options);
  }
}

export const restoresAtOnce = by((memory) => new RestoresAtOnce({ memory }));

/** vfio-pci-dmabuf R17 misread: every restore begins to count mappings at none. */
class ForgetfulBuffer extends MemoryBuffer {
  forgotten = false;

  protected override async drain(options: WaitOptions | undefined): Promise<void> {
    if (!this.forgotten) await super.drain(options);
    this.forgotten = false;
  }
}

class CountsAfresh extends Knowing {
  override restore(options?: WaitOptions): Promise<void> {
    for (const { ops } of this.alive()) {
      if (ops instanceof ForgetfulBuffer && !ops.revoked) ops.forgotten = true;
    }
    return super.restore(options);
  }

  protected override makeBuffer(ranges: readonly PhysRange[]): MemoryBuffer {
    return new ForgetfulBuffer(this, ranges, this.forgetBuffer);
  }
}

export const countsAfresh = by((memory) => new CountsAfresh({ memory }));

/** Holds what it revokes, and lets go of it only where there was something to do. */
class KeepsAReference extends Knowing {
  override async revoke(options?: WaitOptions): Promise<void> {
    for (const buffer of this.alive()) {
      const reference = buffer.get();
      if (buffer.ops instanceof MemoryBuffer && !buffer.ops.revoked) reference.put();
    }
    await super.revoke(options);
  }
}

export const keepsAReference = by((memory) => new KeepsAReference({ memory }));

/** Closes as if it were one more revoke. */
class OpensAgain extends DeviceExporter {
  override async close(): Promise<void> {
    await this.revoke();
    this.enabled = false;
  }
}

export const opensAgain = deviceSubject("wrong", OpensAgain);

/** Asks whether it could take the memory back before it looks whether the memory is there. */
class AsksRevocableFirst extends BarLikeBuffer {
  override attach(attachment: Attachment): void {
    if (attachment.peer2peer && !attachment.revocable) {
      throw new DmaBufError("EOPNOTSUPP", "dmabuf.attach", "the importer cannot be revoked");
    }
    super.attach(attachment);
  }
}

export const asksRevocableFirst = barLikeSubject(
  "wrong",
  (...args) => new AsksRevocableFirst(...args),
);

/** Whatever the importer asks for, its device may do everything. */
class MapsBothWays extends MemoryBuffer {
  override map(attachment: Attachment, _direction: DmaDirection, held: Held): ScatterTable {
    return super.map(attachment, "bidirectional", held);
  }
}

export const mapsBothWays = over(MapsBothWays);

/** vfio-pci-dmabuf R38: where ranges are mapped one by one, the unwinding of a failure is wrong. */
class LeaksARange extends MemoryBuffer {
  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const { dma } = attachment.device;
    const state = dma?.tryAllocIova(0x1000n);
    if (state !== undefined) dma?.free(state);
    try {
      return super.map(attachment, direction, held);
    } catch (error) {
      const [first] = this.ranges;
      if (state === undefined && first !== undefined) dma?.mapPhys(first, direction);
      throw error;
    }
  }
}

export const leaksARange = over(LeaksARange);
