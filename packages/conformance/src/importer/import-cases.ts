import {
  type DmaBuf,
  DmaBufError,
  type DmaBufErrorCode,
  FenceContext,
  type InterconnectName,
  type PhysRange,
  physAddr,
} from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { check, equal, expectErrno } from "../expect.js";
import type { ImportedBuffer, ImporterCapability, ImporterFixture } from "./fixture.js";
import { type FailingStep, WatchedExporter } from "./watched-exporter.js";

type ImporterCase = ConformanceCase<ImporterFixture, ImporterCapability>;

const SIZE = 0x8000n;
const whole = { offset: 0n, length: SIZE };

const takesPeerMemory: ImporterCase = {
  id: "attach/allows-peer2peer",
  title: "the importer attaches as one that takes peer-to-peer memory, never as a static one",
  rules: "dma-buf R10, R11, known-bugs B38",
  async run(fixture) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const imported = await fixture.import(buffer, whole);
    check(exporter.attachments.length > 0, "the importer never attached");
    for (const attachment of exporter.attachments) {
      check(attachment.isDynamic, "the attachment is static");
      check(attachment.peer2peer, "the attachment does not allow peer-to-peer");
    }
    await imported.close();
    buffer.close();
  },
};

const keepsReference: ImporterCase = {
  id: "import/keeps-the-buffer-alive",
  title: "an import holds the buffer after its creator let go, and lets it go when closed",
  rules: "dma-buf R6, iommufd R12, rdma-umem R32",
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const imported = await fixture.import(buffer, whole);
    check(buffer.references > 1, "the importer took no reference");
    buffer.close();
    await turns.settle();
    equal(exporter.live, 1, "live buffers while imported");
    await imported.close();
    await turns.settle();
    equal(exporter.live, 0, "live buffers after the import is closed");
  },
};

const closesClean: ImporterCase = {
  id: "close/leaves-nothing",
  title: "closing an import leaves no mapping, pin, attachment or reference; twice is harmless",
  rules: "dma-buf R14, R20, iommufd R21, rdma-umem R15",
  async run(fixture) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const before = exporter.held(buffer);
    for (let i = 0; i < 3; i++) {
      const imported = await fixture.import(buffer, whole);
      check(exporter.held(buffer) !== before, "an import holds nothing of the buffer");
      await imported.close();
      equal(exporter.held(buffer), before, "held after close");
      await imported.close();
      equal(exporter.held(buffer), before, "held after the second close");
    }
    buffer.close();
  },
};

const independent: ImporterCase = {
  id: "import/twice-is-independent",
  title: "two imports of one buffer live and end apart",
  rules: "dma-buf R15, iommufd R9",
  async run(fixture) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const before = exporter.held(buffer);
    const first = await fixture.import(buffer, whole);
    const between = exporter.held(buffer);
    const second = await fixture.import(buffer, whole);
    await first.close();
    equal(exporter.held(buffer), between, "held after one of two is closed");
    if (second.write !== undefined) {
      check(await second.write(0n, Uint8Array.of(7)), "the second import lost its mapping");
    }
    await second.close();
    equal(exporter.held(buffer), before, "held after both are closed");
    buffer.close();
  },
};

const bounds: ImporterCase = {
  id: "import/bounds",
  title: "length 0, an offset at the end and a length one past it give EINVAL and leave nothing",
  rules: "iommufd M5, M8, R37, rdma-umem R1",
  async run(fixture) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const before = exporter.held(buffer);
    const refuse = async (offset: bigint, length: bigint, what: string): Promise<void> => {
      await expectErrno(() => fixture.import(buffer, { offset, length }), "EINVAL", what);
      equal(exporter.held(buffer), before, `held after the refusal of ${what}`);
    };
    await refuse(0n, 0n, "length 0");
    await refuse(SIZE, 0x1000n, "offset at the end");
    await refuse(0n, SIZE + 0x1000n, "one page past the end");
    await refuse(SIZE - 0x1000n, 0x2000n, "half past the end");
    await refuse(0n, SIZE + 1n, "one byte past the end");
    buffer.close();
  },
};

const wrapping: ImporterCase = {
  id: "import/wrapping-slice",
  title: "an offset and length whose sum wraps 64 bits are refused and leave nothing",
  rules: "iommufd M6, rdma-umem R1, known-bugs B15",
  async run(fixture) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const before = exporter.held(buffer);
    const slice = { offset: (1n << 64n) - 0x1000n, length: 0x2000n };
    await expectErrno(() => fixture.import(buffer, slice), ["EINVAL", "EOVERFLOW"], "the import");
    equal(exporter.held(buffer), before, "held after the refusal");
    buffer.close();
  },
};

const bytesArrive: ImporterCase = {
  id: "import/bytes-arrive",
  title: "what the device writes into a slice arrives there, and nothing outside it changes",
  rules: "iommufd R10, rdma-umem R7, R8",
  needs: ["dma"],
  async run(fixture) {
    await checkBytes(fixture, [SIZE], { offset: 0x2000n, length: 0x3000n });
    await checkBytes(fixture, [SIZE], whole);
  },
};

const severalRanges: ImporterCase = {
  id: "import/several-ranges",
  title: "a slice across several separate ranges reaches every one of them",
  rules: "rdma-umem R7, R11, known-bugs B39",
  needs: ["dma", "multi-range"],
  async run(fixture) {
    const sizes = [0x2000n, 0x1000n, 0x3000n];
    await checkBytes(fixture, sizes, { offset: 0x1000n, length: 0x4000n });
  },
};

const crossesEntries: ImporterCase = {
  id: "import/write-crosses-entries",
  title: "one write across several entries of the table lands in every one, and nowhere between",
  rules: "dma-buf R23, rdma-umem R7, known-bugs B39",
  needs: ["dma", "multi-range"],
  async run(fixture) {
    const exporter = new WatchedExporter(fixture.memory);
    // Behind an IOMMU separate ranges may lie side by side; page by page nothing does.
    exporter.scattered = true;
    const all = fixture.memory.allocate(0x5000n);
    const pages = [0, 2, 4].map((page) => pageOf(all, page));
    const buffer = exporter.exportRanges(pages);
    const imported = await fixture.import(buffer, { offset: 0n, length: 0x3000n });
    const bytes = Uint8Array.from({ length: 0x1008 }, (_, i) => (i % 255) + 1);
    equal(await imported.write?.(0xffcn, bytes), true, "write across three pages");
    await imported.close();
    const expected = new Uint8Array(0x3000);
    expected.set(bytes, 0xffc);
    for (const [index, { start }] of pages.entries()) {
      const wanted = expected.subarray(index * 0x1000, (index + 1) * 0x1000);
      sameBytes(fixture, start, wanted, `page ${String(index)} of the buffer`);
    }
    for (const page of [1, 3]) {
      const { start } = pageOf(all, page);
      sameBytes(fixture, start, new Uint8Array(0x1000), "a page between, not in the buffer");
    }
    buffer.close();
  },
};

const endOfSlice: ImporterCase = {
  id: "import/write-past-the-slice",
  title: "a write that begins or ends past the slice fails and changes nothing outside it",
  rules: "rdma-umem R7, R8, iommufd R10",
  needs: ["dma"],
  async run(fixture) {
    const exporter = new WatchedExporter(fixture.memory);
    const memory = fixture.memory.allocate(SIZE);
    const buffer = exporter.exportRanges([memory]);
    const slice = { offset: 0x3000n, length: 0x3000n };
    const imported = await fixture.import(buffer, slice);
    const bytes = new Uint8Array(8).fill(0xee);
    for (const at of [slice.length, slice.length - 4n, slice.length + 0x1000n]) {
      const done = await imported.write?.(at, bytes);
      equal(done, false, `success of 8 bytes at 0x${at.toString(16)} of 0x3000`);
    }
    await imported.close();
    const end = slice.offset + slice.length;
    sameBytes(fixture, memory.start, new Uint8Array(0x3000), "the bytes before the slice");
    const after = new Uint8Array(Number(SIZE - end));
    sameBytes(fixture, memory.start + end, after, "the bytes after the slice");
    buffer.close();
  },
};

function pageOf({ start }: PhysRange, page: number): PhysRange {
  return { start: physAddr(start + BigInt(page) * 0x1000n), length: 0x1000n };
}

/** Compares memory with what it must be. */
function sameBytes(
  { memory }: ImporterFixture,
  address: bigint,
  expected: Uint8Array,
  what: string,
): void {
  const found = new Uint8Array(expected.length);
  memory.read(address, found);
  const at = found.findIndex((byte, index) => byte !== expected[index]);
  if (at >= 0) equal(found[at], expected[at], `${what}, byte 0x${at.toString(16)}`);
}

/** Writes one byte at the start and at the end of every page of the slice and looks at every page of the memory. */
async function checkBytes(
  fixture: ImporterFixture,
  sizes: readonly bigint[],
  slice: { readonly offset: bigint; readonly length: bigint },
): Promise<void> {
  const exporter = new WatchedExporter(fixture.memory);
  const ranges = sizes.map((size) => fixture.memory.allocate(size));
  const buffer = exporter.exportRanges(ranges);
  const imported = await fixture.import(buffer, slice);
  for (let at = 0n; at < slice.length; at += 0x1000n) {
    await wrote(imported, at, 0xa5);
    await wrote(imported, at + 0xfffn, 0x5a);
  }
  await imported.close();
  let page = 0n;
  for (const address of pagesOf(ranges)) {
    const bytes = new Uint8Array(0x1000);
    fixture.memory.read(address, bytes);
    const inside = page >= slice.offset && page < slice.offset + slice.length;
    equal(bytes[0], inside ? 0xa5 : 0, `first byte at offset 0x${page.toString(16)}`);
    equal(bytes[0xfff], inside ? 0x5a : 0, `last byte of the page at 0x${page.toString(16)}`);
    page += 0x1000n;
  }
  buffer.close();
}

async function wrote(imported: ImportedBuffer, offset: bigint, byte: number): Promise<void> {
  const done = await imported.write?.(offset, Uint8Array.of(byte));
  equal(done, true, `write at offset 0x${offset.toString(16)}`);
}

function* pagesOf(ranges: readonly PhysRange[]): Iterable<bigint> {
  for (const { start, length } of ranges) {
    for (let at = 0n; at < length; at += 0x1000n) yield start + at;
  }
}

/** A step of the exporter that fails: the importer must hand the errno on and hold nothing. */
function errorCase(
  step: FailingStep,
  code: "EBUSY" | "EREMOTEIO" | "ENOMEM",
  rules: string,
  needs: readonly ImporterCapability[],
): ImporterCase {
  return {
    id: `error/${step}-passed-through`,
    title: `an error of the exporter's ${step} reaches the caller with its errno and leaves nothing`,
    rules,
    needs,
    async run(fixture) {
      const exporter = new WatchedExporter(fixture.memory);
      const buffer = exporter.export(SIZE);
      const before = exporter.held(buffer);
      exporter.fail(step, new DmaBufError(code, `exporter.${step}`, "refused by the suite"));
      await importRefused(exporter, fixture, buffer, code);
      equal(exporter.held(buffer), before, "held after the failed import");
      exporter.fail(step, undefined);
      await (await fixture.import(buffer, whole)).close();
      equal(exporter.held(buffer), before, "held after a good import was closed");
      buffer.close();
    },
  };
}

/** The import fails with that errno; or, of an importer that asks the exporter no earlier than at the first write, that write does. */
async function importRefused(
  exporter: WatchedExporter,
  fixture: ImporterFixture,
  buffer: DmaBuf,
  code: DmaBufErrorCode,
): Promise<void> {
  const early = async (): Promise<void> => {
    const lazy = await fixture.import(buffer, whole);
    const asked = exporter.refused;
    const written = await lazy.write?.(0n, Uint8Array.of(1));
    const inTime = asked === 0 && exporter.refused > 0;
    await lazy.close();
    if (!inTime) return;
    equal(written, false, "success of a write that the exporter refused to map");
    throw new DmaBufError(code, "import", "refused at the first write");
  };
  await expectErrno(early, code, "the import of what the exporter refuses");
}

const noCommonInterconnect: ImporterCase = {
  id: "error/no-common-interconnect",
  title:
    "an exporter with nothing in common gives EOPNOTSUPP naming both lists, and nothing is left",
  rules: "iommufd M13, R22",
  async run(fixture) {
    const foreign = "conformance-unknown" as InterconnectName;
    const exporter = new WatchedExporter(fixture.memory, [foreign]);
    const buffer = exporter.export(SIZE);
    const before = exporter.held(buffer);
    const error = await expectErrno(
      () => fixture.import(buffer, whole),
      "EOPNOTSUPP",
      "the import",
    );
    check(error.message.includes(foreign), `the exporter's list is missing: ${error.message}`);
    check(/\bsgt\b|\bphys\b|\bfd\b/.test(error.message), `the importer's is: ${error.message}`);
    equal(exporter.held(buffer), before, "held after the refusal");
    buffer.close();
  },
};

const revokedBuffer: ImporterCase = {
  id: "error/revoked-buffer",
  title: "importing a revoked buffer gives ENODEV and leaves nothing; restored it works",
  rules: "iommufd M10, R33, rdma-umem R20",
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const before = exporter.held(buffer);
    await exporter.revoke();
    await expectErrno(() => fixture.import(buffer, whole), "ENODEV", "import while revoked");
    equal(exporter.held(buffer), before, "held after the refusal");
    await turns.within(exporter.restore(), "the restore");
    await (await fixture.import(buffer, whole)).close();
    buffer.close();
  },
};

const notRevocableRefused: ImporterCase = {
  id: "error/refusal-of-revocable-exporters",
  title: "a revocable exporter takes the importer exactly where it claims to be revocable",
  rules: "dma-buf R12, rdma-umem R16, known-bugs B4",
  async run(fixture) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    await (await fixture.import(buffer, whole)).close();
    const revocable = exporter.attachments.every((attachment) => attachment.revocable);
    exporter.revocableOnly = true;
    const before = exporter.held(buffer);
    if (revocable) await (await fixture.import(buffer, whole)).close();
    else await expectErrno(() => fixture.import(buffer, whole), "EOPNOTSUPP", "the import");
    equal(exporter.held(buffer), before, "held afterwards");
    buffer.close();
  },
};

const kernelFences: ImporterCase = {
  id: "import/waits-for-kernel-fences",
  title: "no byte moves through a mapping while a KERNEL fence of the exporter is pending",
  rules: "dma-buf R21, rdma-umem R9",
  needs: ["sgt", "kernel-fences"],
  async run(fixture, turns) {
    const exporter = new WatchedExporter(fixture.memory);
    const buffer = exporter.export(SIZE);
    const fence = new FenceContext(0x7100, "conformance-move").next();
    await addKernelFence(buffer, fence);
    const importing = fixture.import(buffer, whole);
    // One that maps or waits later does so before its device writes, and no byte has moved.
    const waited = await turns.isPending(importing);
    const early = waited ? undefined : (await importing).write?.(0n, Uint8Array.of(1));
    check(waited || early !== undefined, "the import did not wait for the KERNEL fence");
    if (early !== undefined) {
      check(await turns.isPending(early), "a write did not wait for the KERNEL fence");
    }
    fence.signal();
    if (early !== undefined) {
      equal(await turns.within(early, "the write"), true, "write, with the fence signalled");
    }
    const imported = await turns.within(importing, "the import, with the fence signalled");
    await imported.close();
    buffer.close();
  },
};

async function addKernelFence(
  buffer: DmaBuf,
  fence: ReturnType<FenceContext["next"]>,
): Promise<void> {
  const held = await buffer.reservation.lock();
  buffer.reservation.reserveFences(held, 1);
  buffer.reservation.addFence(held, fence, "kernel");
  held.release();
}

/** Import, bounds, bytes and errors. */
export const importCases: readonly ImporterCase[] = [
  takesPeerMemory,
  keepsReference,
  closesClean,
  independent,
  bounds,
  wrapping,
  bytesArrive,
  severalRanges,
  crossesEntries,
  endOfSlice,
  errorCase("attach", "EBUSY", "dma-buf R9, iommufd M11, R22, rdma-umem R1", []),
  errorCase("pin", "ENOMEM", "iommufd M12, R22, rdma-umem R3, known-bugs B32", ["pins"]),
  errorCase("map", "EREMOTEIO", "dma-buf R21, rdma-umem R3, R6, known-bugs B32", []),
  noCommonInterconnect,
  revokedBuffer,
  notRevocableRefused,
  kernelFences,
];
