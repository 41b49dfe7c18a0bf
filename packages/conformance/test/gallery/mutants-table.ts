import type { ExporterSubject } from "@peerbar/conformance";
import {
  MemoryBuffer,
  MemoryEngine,
  MemoryExporter,
  PhysicalMemory,
  SimpleIommu,
} from "@peerbar/conformance/reference";
import {
  type Attachment,
  type DmaAddr,
  DmaBufError,
  type DmaDirection,
  type DmaMapper,
  type DmaSpace,
  type Held,
  type IovaState,
  iova,
  PAGE_SIZE,
  type PhysRange,
  type ScatterEntry,
  ScatterTable,
  toPfn,
} from "@peerbar/core";
import { memorySubject, readRanges } from "../fixtures/subjects.js";
import { ExporterOf } from "../fixtures/variants.js";
import { over } from "./mutants-exporter.js";

const MAX = 0xffff_f000n;
const UINT_MAX = 0xffff_ffffn;

/** A list in bytes: some of these are not whole pages, which core's arrays cannot hold. */
class ByteTable extends ScatterTable {
  readonly raw: readonly ScatterEntry[];

  constructor(space: DmaSpace, raw: readonly ScatterEntry[]) {
    super(
      space,
      Float64Array.from(raw, ({ address }) => toPfn(address)),
      Uint32Array.from(raw, ({ length }) => Math.ceil(length / PAGE_SIZE)),
    );
    this.raw = raw;
  }

  override get size(): bigint {
    return this.raw.reduce((sum, { length }) => sum + BigInt(length), 0n);
  }

  override entry(index: number): ScatterEntry {
    const entry = this.raw[index];
    if (entry === undefined) throw new RangeError(`entry ${String(index)}`);
    return entry;
  }
}

function chunks(
  spans: readonly (readonly [bigint, bigint])[],
  limit: bigint,
): readonly ScatterEntry[] {
  const entries: ScatterEntry[] = [];
  for (const [start, length] of spans) {
    for (let done = 0n; done < length || length === 0n; ) {
      const part = length - done < limit ? length - done : limit;
      entries.push({ address: iova(start + done), length: Number(part) });
      done += part;
      if (part === 0n) break;
    }
  }
  return entries;
}

/** Lengths and addresses by hand: what goes wrong where a list is built. */
class HandmadeTable extends MemoryBuffer {
  protected readonly chunk: bigint = MAX;

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    if (attachment.device.dma !== undefined) return super.map(attachment, direction, held);
    if (this.revoked) return super.map(attachment, direction, held);
    const spans = this.ranges.map(({ start, length }) => [start, this.sum(length)] as const);
    return new ByteTable("bus", chunks(spans, this.chunk));
  }

  override unmap(a: Attachment, table: ScatterTable, way: DmaDirection, held: Held): void {
    if (!(table instanceof ByteTable)) super.unmap(a, table, way, held);
  }

  protected sum(length: bigint): bigint {
    return length;
  }
}

/** Without the counting of the reference exporter: the suites about revoke are not what these are for. */
const table = (make: typeof HandmadeTable): ExporterSubject => {
  const subject = over(make, false);
  const without = ["revoke", "revocable-only", "live", "fd", "ranges"];
  return {
    ...subject,
    capabilities: subject.capabilities.filter((name) => !without.includes(name)),
  };
};

export const handmadeRight = table(HandmadeTable);

/** B18. */
export const unalignedChunks = table(
  class extends HandmadeTable {
    protected override readonly chunk = UINT_MAX;
  },
);

/** B21. */
export const narrowSum = table(
  class extends HandmadeTable {
    protected override sum(length: bigint): bigint {
      return BigInt.asUintN(32, length);
    }
  },
);

/** B56: every entry gets the first one's length. */
export const headLength = over(
  class extends MemoryBuffer {
    override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
      const table = super.map(attachment, direction, held);
      return new ScatterTable(table.space, table.pfns, table.pages.fill(table.pages[0] ?? 0));
    }
  },
  false,
);

/** Maps range by range, whatever IOVA space there is: what dma_map_phys is for. */
class RangeByRange extends MemoryBuffer {
  readonly #mapped = new Map<ScatterTable, { address: DmaAddr; length: bigint }[]>();
  #live = 0;

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const { dma } = attachment.device;
    if (dma === undefined || this.revoked) return super.map(attachment, direction, held);
    const mapped: { address: DmaAddr; length: bigint }[] = [];
    try {
      for (const range of this.ranges) {
        mapped.push({ address: dma.mapPhys(range, direction), length: range.length });
      }
    } catch (error) {
      for (const { address, length } of mapped) dma.unmapPhys(address, length, direction);
      throw error;
    }
    const spans = mapped.map((one) => ({ pfn: toPfn(one.address), pages: toPfn(one.length) }));
    const table = ScatterTable.fromSpans(dma.space, spans);
    this.#mapped.set(table, mapped);
    this.#live += 1;
    return table;
  }

  override unmap(a: Attachment, table: ScatterTable, way: DmaDirection, held: Held): void {
    const mapped = this.#mapped.get(table);
    if (mapped === undefined) {
      super.unmap(a, table, way, held);
      return;
    }
    this.#mapped.delete(table);
    if (a.device.dma !== undefined) this.undo(a.device.dma, mapped, way);
    this.#live -= 1;
    if (this.#live === 0) this.#drained?.();
  }

  protected undo(
    dma: DmaMapper,
    mapped: readonly { readonly address: DmaAddr; readonly length: bigint }[],
    way: DmaDirection,
  ): void {
    for (const { address, length } of mapped) dma.unmapPhys(address, length, way);
  }

  #drained: (() => void) | undefined;

  protected override async drain(): Promise<void> {
    if (this.#live === 0) return;
    await new Promise<void>((resolve) => {
      this.#drained = resolve;
    });
  }
}

export const rangeByRange = over(RangeByRange);

/** B23: each entry is unmapped at the first one's address. */
export const wrongRegions = over(
  class extends RangeByRange {
    protected override undo(...[dma, mapped, way]: Parameters<RangeByRange["undo"]>): void {
      const first = mapped[0]?.address;
      for (const { address, length } of mapped) dma.unmapPhys(first ?? address, length, way);
    }
  },
);

/** B57: mapped with one set of attributes, unmapped with another. The direction is the attribute that the DMA API has here. */
export const otherAttributes = over(
  class extends RangeByRange {
    protected override undo(...[dma, mapped]: Parameters<RangeByRange["undo"]>): void {
      for (const { address, length } of mapped) dma.unmapPhys(address, length, "to-device");
    }
  },
);

/** What the draft of October 2025 gets wrong, one by one. */
type DraftDefect = "D1" | "D3" | "D4" | "D5";

interface Slot {
  state: IovaState | undefined;
  linked: ScatterTable | undefined;
}

/**
 * The draft's plan, IOVA space reserved at attach, linked at map and unlinked at unmap, freed at detach; right, or with some of its defects.
 */
class DraftBuffer extends MemoryBuffer {
  protected readonly defects: ReadonlySet<DraftDefect> = new Set();
  readonly #slots = new Map<Attachment, Slot>();
  readonly #undo = new Map<ScatterTable, () => void>();
  #live = 0;
  #drained: (() => void) | undefined;

  override attach(attachment: Attachment): void {
    super.attach(attachment);
    this.#slots.set(attachment, {
      state: attachment.device.dma?.tryAllocIova(this.#size()),
      linked: undefined,
    });
  }

  detach(attachment: Attachment): void {
    const slot = this.#slots.get(attachment);
    this.#slots.delete(attachment);
    if (slot?.state !== undefined) attachment.device.dma?.free(slot.state);
  }

  override map(attachment: Attachment, direction: DmaDirection, held: Held): ScatterTable {
    const slot = this.#slots.get(attachment);
    const { dma } = attachment.device;
    if (this.revoked || dma === undefined || slot === undefined) {
      return super.map(attachment, direction, held);
    }
    const table = this.#link(dma, slot, direction);
    this.#live += 1;
    return table;
  }

  override unmap(a: Attachment, table: ScatterTable, way: DmaDirection, held: Held): void {
    const undo = this.#undo.get(table);
    if (undo === undefined) {
      super.unmap(a, table, way, held);
      return;
    }
    this.#undo.delete(table);
    undo();
    this.#live -= 1;
    if (this.#live === 0) this.#drained?.();
  }

  protected override async drain(): Promise<void> {
    if (this.#live === 0) return;
    await new Promise<void>((resolve) => {
      this.#drained = resolve;
    });
  }

  #link(dma: DmaMapper, slot: Slot, direction: DmaDirection): ScatterTable {
    // A second mapping has an IOVA of its own, unless D3.
    const shared = slot.linked === undefined || this.defects.has("D3");
    const state = shared ? slot.state : dma.tryAllocIova(this.#size());
    if (state === undefined) throw new DmaBufError("ENOMEM", "dmabuf.map", "no IOVA");
    let linked = 0n;
    try {
      for (const range of this.ranges) {
        dma.link(state, this.defects.has("D4") ? 0n : linked, range, direction);
        linked += range.length;
        if (this.defects.has("D5")) linked = BigInt.asUintN(32, linked);
      }
      dma.sync(state, 0n, linked);
    } catch (error) {
      if (linked > 0n) dma.unlink(state, 0n, linked);
      if (!shared) dma.free(state);
      throw error;
    }
    const table = new ByteTable("iova", chunks([[state.address, linked]], MAX));
    if (shared) slot.linked = table;
    this.#undo.set(table, () => {
      this.#unlink(dma, slot, state, shared, linked);
    });
    return table;
  }

  #unlink(dma: DmaMapper, slot: Slot, state: IovaState, shared: boolean, linked: bigint): void {
    if (!shared) {
      dma.destroy(state, linked);
      return;
    }
    slot.linked = undefined;
    // D1, D2: destroy frees as well, and detach, or the next map, comes after it.
    if (this.defects.has("D1")) dma.destroy(state, linked);
    else dma.unlink(state, 0n, linked);
  }

  #size(): bigint {
    return this.ranges.reduce((sum, { length }) => sum + length, 0n);
  }
}

/** An IOMMU that keeps going when its caller misuses it, as the kernel's does: what is left to notice is the sanitizer's. */
function forgiving(dma: DmaMapper): DmaMapper {
  const attempt = (run: () => void): void => {
    try {
      run();
    } catch (error) {
      if (!(error instanceof DmaBufError)) throw error;
    }
  };
  return {
    space: dma.space,
    tryAllocIova: (size) => dma.tryAllocIova(size),
    link: (...args) => {
      dma.link(...args);
    },
    sync: (...args) => {
      attempt(() => {
        dma.sync(...args);
      });
    },
    unlink: (...args) => {
      attempt(() => {
        dma.unlink(...args);
      });
    },
    free: (state) => {
      attempt(() => {
        dma.free(state);
      });
    },
    destroy: (...args) => {
      attempt(() => {
        dma.destroy(...args);
      });
    },
    mapPhys: (...args) => dma.mapPhys(...args),
    unmapPhys: (...args) => {
      attempt(() => {
        dma.unmapPhys(...args);
      });
    },
  };
}

/** A mapper that only keeps the books: gigabytes cost nothing. */
class Ledger implements DmaMapper {
  readonly space = "iova";
  #next = 1n << 40n;

  tryAllocIova(size: bigint): IovaState {
    const state = { address: iova(this.#next), size };
    this.#next += size;
    return state;
  }

  link(): void {
    // Nothing to look up.
  }

  sync(): void {
    // Nothing to wait for.
  }

  unlink(): void {
    // Nothing to take out.
  }

  free(): void {
    // Never handed out again.
  }

  destroy(): void {
    // As free.
  }

  mapPhys(range: PhysRange): DmaAddr {
    return this.tryAllocIova(range.length).address;
  }

  unmapPhys(): void {
    // As free.
  }
}

/** The draft, right or with these defects, behind an IOMMU that lets it. */
export function draftSubject(
  name: string,
  size: "ordinary" | "large",
  ...defects: readonly DraftDefect[]
): ExporterSubject {
  const make = class extends DraftBuffer {
    protected override readonly defects = new Set(defects);
  };
  const plain = memorySubject(name, (memory) => new MemoryExporter({ memory }));
  const large = size === "large";
  const lacks = ["lazy-iova", "fd", "ranges", ...(large ? ["bytes", "mapper"] : [])];
  return {
    ...plain,
    capabilities: [
      ...plain.capabilities.filter((one) => !lacks.includes(one)),
      ...(large ? (["large"] as const) : []),
    ],
    setup: () => {
      const memory = new PhysicalMemory();
      const exporter = new ExporterOf(memory, (...args) => new make(...args));
      const dmaMask = (1n << 64n) - 1n;
      const pci = { name: "0000:01:00.0", pciAddress: "0000:01:00.0", dmaMask };
      const port = new SimpleIommu().connect({ ...pci, isPci: true, reserved: [] });
      const dma = large ? new Ledger() : forgiving(port.dma);
      return {
        // Nothing translates what the ledger hands out.
        device: large ? { ...pci, dma } : { ...pci, dma, engine: new MemoryEngine(memory, port) },
        export: (...sizes) => {
          const total = sizes.reduce((sum, size) => sum + size, 0n);
          if (total < 1n << 32n) return exporter.export(...sizes);
          const { start } = memory.allocate(0x1000n);
          return exporter.exportRanges([{ start, length: total }]);
        },
        revoke: () => exporter.revoke(),
        restore: () => exporter.restore(),
        live: () => exporter.live,
        read: (buffer, offset, into) => {
          if (!(buffer.ops instanceof MemoryBuffer)) throw new Error("not a memory buffer");
          readRanges(memory, buffer.ops.ranges, offset, into);
        },
      };
    },
  };
}
