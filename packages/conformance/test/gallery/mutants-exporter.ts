import type { ExporterSubject } from "@peerbar/conformance";
import { MemoryBuffer, MemoryExporter } from "@peerbar/conformance/reference";
import {
  type Attachment,
  type DmaDirection,
  type FenceUsage,
  type Held,
  Reservation,
  type ScatterTable,
  type WaitOptions,
  waitFor,
} from "@peerbar/core";
import { memorySubject } from "../fixtures/subjects.js";
import { ExporterOf } from "../fixtures/variants.js";

type BufferClass = new (...args: ConstructorParameters<typeof MemoryBuffer>) => MemoryBuffer;

/** The reference exporter with buffers of that kind. */
export const over = (make: BufferClass, iommu = true): ExporterSubject =>
  memorySubject("mutant", (memory) => new ExporterOf(memory, (...args) => new make(...args)), {
    iommu,
  });

/** The reference exporter as it is. */
export const rightMemory = memorySubject("reference", (memory) => new MemoryExporter({ memory }));
export const rightDirect = memorySubject(
  "reference, direct",
  (memory) => new MemoryExporter({ memory }),
  { iommu: false },
);

/** vfio-pci's counting: one reference for being mappable, one for each mapping, and a completion that the last one fires. */
class KrefBuffer extends MemoryBuffer {
  protected kref = 1;
  protected completed = false;
  #wake: (() => void) | undefined;

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const table = super.map(attachment, direction, held);
    this.kref += 1;
    return table;
  }

  override unmap(a: Attachment, table: ScatterTable, direction: DmaDirection, held: Held): void {
    super.unmap(a, table, direction, held);
    this.#put();
  }

  protected override async drain(options: WaitOptions | undefined): Promise<void> {
    this.#put();
    if (!this.completed) {
      const point = { kind: "drain", on: this.name } as const;
      await waitFor(this.exporter.scheduler, point, options, "revoke", (wake) => {
        this.#wake = wake;
        return () => undefined;
      });
    }
    this.rearm();
  }

  /** One again, and the completion not done. */
  protected rearm(): void {
    this.kref = 1;
    this.completed = false;
  }

  #put(): void {
    this.kref -= 1;
    if (this.kref !== 0) return;
    this.completed = true;
    this.#wake?.();
  }
}

export const krefRight = over(KrefBuffer);

/** B1. */
export class NeverRearms extends KrefBuffer {
  protected override rearm(): void {
    // The count stays at 0, the completion stays done.
  }
}

/** B2, D10: tells, and waits for nothing. */
export class DoesNotWait extends MemoryBuffer {
  override async setRevoked(revoked: boolean): Promise<void> {
    const { buffer } = this;
    if (buffer === undefined || buffer.released || this.revoked === revoked) return;
    const held = await buffer.reservation.lock();
    this.revoked = revoked;
    buffer.invalidateMappings(held);
    held.release();
  }
}

class KernelFencesOnly extends Reservation {
  override wait(usage: FenceUsage, options?: WaitOptions): Promise<void> {
    return super.wait(usage === "bookkeep" ? "kernel" : usage, options);
  }
}

/** B3. */
export class WaitsForKernelFences extends MemoryExporter {
  protected override makeReservation(): Reservation {
    return new KernelFencesOnly({ scheduler: this.scheduler });
  }
}

/** B4, D10. */
export class AdmitsPinnedOnly extends MemoryBuffer {
  override attach(attachment: Attachment): void {
    if (this.revoked) super.attach(attachment);
  }
}

/** B12: importers are told first, the flag follows. */
export class FlagsAfterwards extends MemoryBuffer {
  override async setRevoked(revoked: boolean, options: WaitOptions | undefined): Promise<void> {
    const { buffer } = this;
    if (buffer === undefined || buffer.released || this.revoked === revoked) return;
    const held = await buffer.reservation.lock(options);
    try {
      buffer.invalidateMappings(held);
    } finally {
      held.release();
    }
    const again = await buffer.reservation.lock(options);
    await buffer.reservation.wait("bookkeep", options);
    this.revoked = revoked;
    again.release();
    if (revoked) await this.drain(options);
  }
}

/** B55: tells its importers with a proof that it has let go of. */
export class TellsWithoutLock extends MemoryBuffer {
  override async setRevoked(revoked: boolean, options: WaitOptions | undefined): Promise<void> {
    const { buffer } = this;
    if (buffer !== undefined && !buffer.released && this.revoked !== revoked) {
      const held = await buffer.reservation.lock(options);
      held.release();
      buffer.invalidateMappings(held);
    }
    await super.setRevoked(revoked, options);
  }
}

/** B61: nobody counts. */
export class DoesNotCount extends MemoryBuffer {
  protected override drain(): Promise<void> {
    return Promise.resolve();
  }
}
