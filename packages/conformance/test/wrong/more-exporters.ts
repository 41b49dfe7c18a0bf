import type { ExporterFixture, ExporterSubject } from "@peerbar/conformance";
import { MemoryBuffer, MemoryExporter } from "@peerbar/conformance/reference";
import {
  type Attachment,
  type DmaBuf,
  type DmaDirection,
  type Held,
  type IovaState,
  type PhysRange,
  POLLIN,
  POLLOUT,
  ScatterTable,
  type Slice,
} from "@peerbar/core";
import { DeviceBuffer, DeviceExporter, deviceSubject } from "../fixtures/device-exporter.js";
import { memorySubject } from "../fixtures/subjects.js";
import { ExporterOf } from "../fixtures/variants.js";

/** A subject with parts of its fixture replaced. */
function withFixture(
  subject: ExporterSubject,
  change: (fixture: ExporterFixture) => Partial<ExporterFixture>,
): ExporterSubject {
  const setup = async (): Promise<ExporterFixture> => {
    const fixture = await subject.setup();
    return { ...fixture, ...change(fixture) };
  };
  return { ...subject, name: "wrong", setup };
}

const memory = (iommu = true): ExporterSubject =>
  memorySubject("wrong", (bytes) => new MemoryExporter({ memory: bytes }), { iommu });

/** known-bugs B51, B27: the reference of a failed `dma_buf_fd` is forgotten. */
export const leaksWithoutFd = withFixture(memory(), (fixture) => ({
  exportFd: async (fds, size) => fds.fd(await fixture.export(size)),
}));

/** known-bugs B5: after the put, the whole unwind runs again. */
export const unwindsTwice = withFixture(memory(), (fixture) => {
  let dropped = 0;
  return {
    live: () => (fixture.live?.() ?? 0) - dropped,
    exportFd: async (fds, size) => {
      const buffer = await fixture.export(size);
      try {
        return fds.fd(buffer);
      } catch (error) {
        buffer.close();
        dropped += 1;
        throw error;
      }
    },
  };
});

/** known-bugs B15: the end of a range is computed in 64 bits. */
export const wrapsRanges = withFixture(memory(), (fixture) => ({
  exportRanges: (ranges) => {
    const wrapped = ranges.map((range) => {
      const end = BigInt.asUintN(64, range.offset + range.length);
      const inside = range.length > 0n && end <= (fixture.regionSize ?? 0n);
      return inside && range.length < 1n << 60n && end < range.offset
        ? { offset: 0n, length: range.length }
        : range;
    });
    return must(fixture).exportRanges(wrapped);
  },
}));

/** known-bugs B15, second form: the end is compared with the size rounded up, so that one page too many passes. */
export const exposesTheTail = withFixture(memory(), (fixture) => ({
  exportRanges: (ranges) =>
    must(fixture).exportRanges(
      ranges.map(({ offset, length }) =>
        offset + length === (fixture.regionSize ?? 0n) + 0x1000n
          ? { offset: 0n, length }
          : { offset, length },
      ),
    ),
}));

/** known-bugs B16: the marker of the swiotlb takes bit 63 out of the size. */
export const losesBit63 = withFixture(memory(), (fixture) => ({
  exportRanges: (ranges) => {
    const total = ranges.reduce((sum, { length }) => sum + length, 0n);
    const size = BigInt.asUintN(63, total);
    const whole = { offset: 0n, length: size };
    return must(fixture).exportRanges(total < 1n << 63n || size === 0n ? ranges : [whole]);
  },
}));

function must(fixture: ExporterFixture): {
  exportRanges(ranges: readonly Slice[]): DmaBuf | Promise<DmaBuf>;
} {
  return {
    exportRanges: (ranges) => fixture.exportRanges?.(ranges) ?? Promise.reject(new Error("none")),
  };
}

/** known-bugs B7, B8: nobody asks who claimed the region, or whether it may be mapped. */
export const exportsForeignMemory = withFixture(deviceSubject("wrong"), (fixture) => ({
  exportForbidden: () => fixture.export(0x1000n),
}));

/** vfio-pci-dmabuf D8: space for the whole buffer is taken at attach. */
class ReservesAtAttach extends MemoryBuffer {
  readonly #reserved = new Map<Attachment, IovaState>();

  override attach(attachment: Attachment): void {
    super.attach(attachment);
    const size = this.ranges.reduce((sum, { length }) => sum + length, 0n);
    const state = attachment.device.dma?.tryAllocIova(size);
    if (state !== undefined) this.#reserved.set(attachment, state);
  }

  detach(attachment: Attachment): void {
    const state = this.#reserved.get(attachment);
    this.#reserved.delete(attachment);
    if (state !== undefined) attachment.device.dma?.free(state);
  }
}

/** vfio-pci-dmabuf D8. Its IOVA counts as leaked where the suite looks after unmap, so it is run on this case alone. */
export const reservesAtAttach = memorySubject(
  "wrong",
  (bytes) => new ExporterOf(bytes, (...args) => new ReservesAtAttach(...args)),
);

/** known-bugs B17: the address of each chunk is computed in 32 bits. */
class NarrowChunks extends MemoryBuffer {
  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const table = super.map(attachment, direction, held);
    const pfns = table.pfns.map((pfn, i) => {
      const base = table.pfns[0] ?? 0;
      // Index times chunk size, in bytes, as an unsigned int.
      return i === 0 ? pfn : base + Math.floor((((pfn - base) * 4096) % 2 ** 32) / 4096);
    });
    return new ScatterTable(table.space, pfns, table.pages);
  }
}

export const narrowChunks = memorySubject(
  "wrong",
  (bytes) => new ExporterOf(bytes, (...args) => new NarrowChunks(...args)),
  { iommu: false },
);

/** known-bugs B46, vfio-pci-dmabuf D9: the way is asked for once and remembered. */
class FrozenRoute extends DeviceBuffer {
  readonly #kind = new Map<Attachment, boolean>();

  override attach(attachment: Attachment): void {
    super.attach(attachment);
    this.#kind.set(attachment, this.device.reachable);
  }

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const { reachable } = this.device;
    this.device.reachable = this.#kind.get(attachment) ?? reachable;
    try {
      return super.map(attachment, direction, held);
    } finally {
      this.device.reachable = reachable;
    }
  }
}

export const frozenRoute = deviceSubject(
  "wrong",
  class extends DeviceExporter {
    protected override makeBuffer(ranges: readonly PhysRange[]): MemoryBuffer {
      return new FrozenRoute(this, ranges, this.forgetBuffer);
    }
  },
);

/** known-bugs B6: the function is switched off before its buffers are revoked. */
export const disablesFirst = deviceSubject(
  "wrong",
  class extends DeviceExporter {
    override async close(): Promise<void> {
      this.enabled = false;
      await super.close();
    }
  },
);

/** known-bugs B60: attach reads a device pointer that close has set to nothing. */
class ReadsTheDevice extends DeviceBuffer {
  vdev: { readonly name: string } | undefined = { name: "0000:3b:00.0" };

  override attach(attachment: Attachment): void {
    const vdev = this.device.closed ? undefined : this.vdev;
    // What a C pointer does without being asked whether it is there.
    if ((vdev as { readonly name: string }).name === attachment.device.name) return;
    super.attach(attachment);
  }
}

export class ReadsItsDevice extends DeviceExporter {
  protected override makeBuffer(ranges: readonly PhysRange[]): MemoryBuffer {
    return new ReadsTheDevice(this, ranges, this.forgetBuffer);
  }
}

export const readsTheDevice = deviceSubject("wrong", ReadsItsDevice);

/** known-bugs B13: the way out of a reset restores, whatever the command register says. */
export const restoresAfterReset = deviceSubject(
  "wrong",
  class extends DeviceExporter {
    override async reset(): Promise<void> {
      await this.revoke();
      await this.restore();
    }
  },
);

/** known-bugs B14: low power is not asked about when the memory is turned on, or exported. */
export const lowPowerHole = deviceSubject(
  "wrong",
  class extends DeviceExporter {
    override get usable(): boolean {
      return this.memoryOn && !this.closed;
    }

    override async sleep(asleep: boolean): Promise<void> {
      if (asleep) await this.revoke();
      else await this.restore();
    }
  },
);

/** Buffers whose file operations are changed after export: `DmaBuf` itself is the kernel's, and has no subclasses. */
function patchedBuffers(patch: (buffer: DmaBuf) => void, subject = memory()): ExporterSubject {
  return withFixture(subject, (fixture) => ({
    export: async (...sizes) => {
      const buffer = await fixture.export(...sizes);
      patch(buffer);
      return buffer;
    },
  }));
}

/** known-bugs B52: readers wait for what only writers must wait for. */
export const pollsEverything = patchedBuffers((buffer) => {
  const { reservation } = buffer;
  buffer.poll = (events) => (reservation.isSignaled("read") ? events & (POLLIN | POLLOUT) : 0);
});

/** known-bugs B53: the wait is in `end`, not in `begin`. */
export const waitsAtTheEnd = patchedBuffers((buffer) => {
  buffer.beginCpuAccess = () => Promise.resolve();
  buffer.endCpuAccess = () => buffer.reservation.wait("read");
});

/** known-bugs B55: importers are told although nobody holds the lock. */
export const tellsUnlocked = patchedBuffers((buffer) => {
  const right = buffer.invalidateMappings.bind(buffer);
  buffer.invalidateMappings = (held) => {
    if (held.held) {
      right(held);
      return;
    }
    for (const attachment of buffer.attachments) {
      attachment.importer?.invalidateMappings?.(attachment, held);
    }
  };
});

/** Memory that the CPU may map. */
class Mappable extends MemoryBuffer {
  mmap({ length }: Slice): Uint8Array {
    return new Uint8Array(Number(length));
  }
}

export const mappable = (): ExporterSubject => {
  const make = (...args: ConstructorParameters<typeof MemoryBuffer>): MemoryBuffer =>
    new Mappable(...args);
  const subject = memorySubject("memory that the CPU maps", (bytes) => new ExporterOf(bytes, make));
  return { ...subject, capabilities: [...subject.capabilities, "mmap"] };
};

/** known-bugs B54: page offset and pages are added as 64-bit bytes, and one page too many passes. */
export const mapsPastTheEnd = patchedBuffers((buffer) => {
  const right = buffer.mmap.bind(buffer);
  buffer.mmap = ({ offset, length }) => {
    const end = BigInt.asUintN(64, offset + length);
    return end <= buffer.size + 0x1000n && offset % 0x1000n === 0n && offset !== buffer.size
      ? right({ offset: 0n, length: 0x1000n })
      : right({ offset, length });
  };
}, mappable());
