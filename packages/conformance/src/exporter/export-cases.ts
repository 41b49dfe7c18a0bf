import { type DmaBuf, FdTable, type Slice } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { ConformanceFailure, check, equal, expectErrno } from "../expect.js";
import { probeDevice } from "../mapper-probe.js";
import type { ExporterCapability, ExporterFixture } from "./fixture.js";
import { ScriptedImporter } from "./scripted-importer.js";

type ExporterCase = ConformanceCase<ExporterFixture, ExporterCapability>;

const SIZE = 0x8000n;
const PAGE = 0x1000n;

const noFreeFd: ExporterCase = {
  id: "export/failed-fd-releases-once",
  title: "where no descriptor is free the export gives EMFILE and the buffer is released, once",
  rules: "dma-buf R3, vfio-pci-dmabuf V22, known-bugs B5, B27, B51",
  needs: ["fd", "live"],
  async run(fixture, turns) {
    const before = fixture.live?.();
    const full = new FdTable({ limit: 0 });
    await expectErrno(() => fixture.exportFd?.(full, SIZE), "EMFILE", "export without a free fd");
    await turns.settle();
    equal(fixture.live?.(), before, "live buffers after the failure");
    const fds = new FdTable({ limit: 1 });
    const fd = await fixture.exportFd?.(fds, SIZE);
    equal(fds.open.length, 1, "descriptors after a good export");
    equal(fixture.live?.(), (before ?? 0) + 1, "live buffers after a good export");
    fds.close(fd ?? -1);
    await turns.settle();
    equal(fixture.live?.(), before, "live buffers after the descriptor was closed");
  },
};

const rangeBounds: ExporterCase = {
  id: "export/range-bounds",
  title:
    "a range that is empty, no whole pages, past the end by one page, or that wraps is refused",
  rules: "vfio-pci-dmabuf V11, V14, V19, V20, known-bugs B15",
  needs: ["ranges"],
  async run(fixture) {
    const { regionSize: end = 0n } = fixture;
    const refuse = async (range: Slice, what: string): Promise<void> => {
      const codes = ["EINVAL", "EOVERFLOW"] as const;
      await expectErrno(() => exportRanges(fixture, [range]), codes, what);
    };
    await refuse({ offset: 0n, length: 0n }, "an empty range");
    await refuse({ offset: 0n, length: PAGE + 1n }, "a length of a page and a byte");
    await refuse({ offset: 1n, length: PAGE }, "an offset inside a page");
    await refuse({ offset: end, length: PAGE }, "a range at the end");
    await refuse({ offset: end - PAGE, length: 2n * PAGE }, "one page past the end");
    await refuse({ offset: (1n << 64n) - PAGE, length: 2n * PAGE }, "a range that wraps 64 bits");
    await refuse({ offset: PAGE, length: (1n << 64n) - PAGE }, "a length that wraps 64 bits");
    await expectErrno(() => exportRanges(fixture, []), "EINVAL", "no range");
    const last = await exportRanges(fixture, [{ offset: end - PAGE, length: PAGE }]);
    equal(last.size, PAGE, "size of the last page");
    last.close();
  },
};

const sizeOverflow: ExporterCase = {
  id: "export/size-with-bit-63",
  title: "ranges that sum up to 2^63 bytes or more are refused, however they wrap",
  rules: "vfio-pci-dmabuf V15, V16, known-bugs B16",
  needs: ["ranges"],
  async run(fixture) {
    const { regionSize = 0n } = fixture;
    // Each range is inside the region: only their sum is not.
    const half = { offset: 0n, length: regionSize };
    const enough = Number((1n << 63n) / regionSize);
    check(enough <= 0x10_0000, "the region is too small to reach 2^63 bytes by repeating it");
    const codes = ["EINVAL", "ENOMEM"] as const;
    for (const more of [0, 1, enough]) {
      const ranges: Slice[] = Array.from({ length: enough + more }, () => half);
      await expectErrno(() => exportRanges(fixture, ranges), codes, `${enough + more} ranges`);
    }
  },
};

const forbidden: ExporterCase = {
  id: "export/refuses-what-it-does-not-own",
  title: "memory that the exporter did not claim, or that nobody may map, is not exported",
  rules: "vfio-pci-dmabuf V12, V18, p2pdma R4, known-bugs B7, B8",
  needs: ["forbidden"],
  async run(fixture) {
    const codes = ["ENODEV", "EINVAL"] as const;
    await expectErrno(() => fixture.exportForbidden?.(), codes, "export of foreign memory");
  },
};

const lazyIova: ExporterCase = {
  id: "attach/takes-no-iova",
  title: "an importer that attaches and never maps holds no IOVA space of its device",
  rules: "vfio-pci-dmabuf R14, D8",
  needs: ["sgt", "mapper", "lazy-iova"],
  async run(fixture) {
    const { device, probe } = probeDevice(fixture.device);
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    equal(probe?.reservations, 0, "IOVA reservations of an attachment that never mapped");
    importer.attachment.detach();
    buffer.close();
  },
};

async function exportRanges(
  fixture: Pick<ExporterFixture, "exportRanges">,
  ranges: readonly Slice[],
): Promise<DmaBuf> {
  const buffer = await fixture.exportRanges?.(ranges);
  if (buffer === undefined) throw new ConformanceFailure("the fixture has no exportRanges");
  return buffer;
}

/** What may be exported, and what a failed export leaves. */
export const exportCases: readonly ExporterCase[] = [
  noFreeFd,
  rangeBounds,
  sizeOverflow,
  forbidden,
  lazyIova,
];
