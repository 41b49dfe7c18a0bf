import {
  ADDRESS_LIMIT,
  DmaBufError,
  hex,
  isPageAligned,
  type PciBar,
  type PhysRange,
  physAddr,
  type Slice,
} from "@peerbar/core";

export const EXPORT = "vfio.exportDmaBuf";
const BARS = 6;
/** Bytes of one `{u64 offset, u64 length}` of the uAPI. */
const RANGE_BYTES = 16;
/** The kernel copies the list in one allocation, and `kmalloc` ends at 4 MiB with 4 KiB pages (vfio-pci-dmabuf V13). */
const MAX_RANGES = (4 << 20) / RANGE_BYTES;
/** Bit that marks a bounced IOVA; a size must not have it (vfio-pci-dmabuf V16, dma-iova R1). */
const SWIOTLB_MARK = 1n << 63n;

/** What is known of the BARs of an open function. */
export interface BarTable {
  readonly bars: readonly (PciBar | undefined)[];
  /** BARs that vfio-pci could not claim: another driver has them (vfio-pci-dmabuf V12, known-bugs B7). */
  readonly unclaimed: ReadonlySet<number>;
  /** Devices whose BARs must not be mapped at all, such as s390 ISM (vfio-pci-dmabuf V12, V18, known-bugs B8). */
  readonly nonMappable: boolean;
}

/** V11: at least one range. */
export function checkCount(count: number): void {
  if (count > 0) return;
  throw refuse("EINVAL", "V11", "no ranges were given", "name at least one { offset, length }");
}

/** V12: a BAR that vfio-pci has claimed and mapped. Whatever the reason is, the answer is ENODEV. */
export function claimedBar(table: BarTable, index: number): PciBar {
  const bar = table.bars[index];
  const why =
    !Number.isInteger(index) || index < 0 || index >= BARS
      ? `BAR ${String(index)} does not exist: BARs are 0 to ${String(BARS - 1)}, the ROM is not one`
      : bar === undefined || bar.length === 0n
        ? `BAR ${String(index)} is absent`
        : table.nonMappable
          ? `BAR ${String(index)} belongs to a device whose BARs must not be mapped`
          : table.unclaimed.has(index)
            ? `BAR ${String(index)} is claimed by another driver`
            : undefined;
  if (bar !== undefined && why === undefined) return bar;
  const present = table.bars.flatMap((one, at) => (one?.kind === "memory" ? [String(at)] : []));
  throw refuse(
    "ENODEV",
    "V12",
    why ?? `BAR ${String(index)} is absent`,
    present.length === 0
      ? "this function has no memory BAR to share"
      : `memory BARs of this function: ${present.join(", ")}`,
  );
}

/** V13: a list the kernel could not copy. */
export function checkListSize(count: number): void {
  if (count <= MAX_RANGES) return;
  throw refuse(
    "ENOMEM",
    "V13",
    `${String(count)} ranges need ${String(count * RANGE_BYTES)} bytes, more than one allocation gives`,
    `export at most ${String(MAX_RANGES)} ranges in one buffer`,
  );
}

/** V14 to V16, range by range in their order. Returns the size of the buffer, in bytes. */
export function sumRanges(ranges: readonly Slice[]): bigint {
  let total = 0n;
  for (let i = 0; i < ranges.length; i++) {
    const { offset, length } = rangeAt(ranges, i);
    if (length === 0n || !isPageAligned(offset) || !isPageAligned(length)) {
      throw refuse(
        "EINVAL",
        "V14",
        `range ${String(i)} is ${describe(offset, length)}: ` +
          (length === 0n ? "it is empty" : "not a whole number of 4096-byte pages"),
        "offsets and lengths are non-zero multiples of 0x1000 bytes (an offset may be 0)",
      );
    }
    total += length;
    if (total >= ADDRESS_LIMIT) {
      throw refuse(
        "EINVAL",
        "V15",
        `the lengths up to range ${String(i)} sum to ${hex(total)} bytes`,
        TOO_BIG,
      );
    }
  }
  if ((total & SWIOTLB_MARK) !== 0n) {
    throw refuse(
      "EINVAL",
      "V16",
      `the lengths sum to ${hex(total)} bytes, which sets bit 63`,
      TOO_BIG,
    );
  }
  return total;
}

/** V18: memory, not I/O ports. */
export function checkMemoryBar(bar: PciBar): void {
  if (bar.kind === "memory") return;
  throw refuse(
    "EINVAL",
    "V18",
    `BAR ${String(bar.index)} is an I/O port BAR`,
    "only memory BARs can be shared",
  );
}

/** V19 and V20, range by range: where each range lies in CPU physical memory. */
export function placeRanges(bar: PciBar, ranges: readonly Slice[]): readonly PhysRange[] {
  const placed = new Array<PhysRange>(ranges.length);
  const end = bar.start + bar.length;
  for (let i = 0; i < ranges.length; i++) {
    const { offset, length } = rangeAt(ranges, i);
    const start = bar.start + offset;
    if (start + length >= ADDRESS_LIMIT) {
      throw refuse(
        "EOVERFLOW",
        "V19",
        `range ${String(i)} is ${describe(offset, length)}: from ${hex(bar.start)} it wraps the address space`,
        `stay within ${hex(bar.length)} bytes`,
      );
    }
    if (start + length > end) {
      throw refuse(
        "EINVAL",
        "V20",
        `range ${String(i)} is ${describe(offset, length)}: it ends ${hex(start + length - end)} bytes past BAR ` +
          `${String(bar.index)}, which has ${hex(bar.length)}`,
        bar.length < 0x1000n
          ? "a BAR shorter than a page cannot be shared (vfio-pci-dmabuf R4)"
          : `stay within ${hex(bar.length)} bytes`,
      );
    }
    placed[i] = { start: physAddr(start), length };
  }
  return placed;
}

const TOO_BIG = "export less in one buffer: the sum must stay below 0x8000000000000000 bytes";

function rangeAt(ranges: readonly Slice[], index: number): Slice {
  const range = ranges[index] as Partial<Slice> | undefined | null;
  const { offset, length } = range ?? {};
  if (isU64(offset) && isU64(length)) return { offset, length };
  throw refuse(
    "EINVAL",
    "V14",
    `range ${String(index)} has offset ${text(offset)} and length ${text(length)}: not two unsigned 64-bit bigints`,
    "write { offset: 0n, length: 0x1000n }",
  );
}

function isU64(value: unknown): value is bigint {
  return typeof value === "bigint" && value >= 0n && value < ADDRESS_LIMIT;
}

function text(value: unknown): string {
  return typeof value === "bigint" || typeof value === "number" ? String(value) : typeof value;
}

function describe(offset: bigint, length: bigint): string {
  return `${hex(offset)}+${hex(length)} bytes`;
}

function refuse(
  code: "EINVAL" | "ENODEV" | "ENOMEM" | "EOVERFLOW",
  rule: string,
  reason: string,
  hint: string | undefined,
): DmaBufError {
  return new DmaBufError(code, EXPORT, reason, { hint, rule: `vfio-pci-dmabuf ${rule}` });
}
