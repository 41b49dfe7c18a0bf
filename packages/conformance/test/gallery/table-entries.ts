import { deviceSubject } from "../fixtures/device-exporter.js";
import { cleansMmio, countingSubject, markingSubject } from "../wrong/more-backends.js";
import { frozenRoute, narrowChunks, reservesAtAttach } from "../wrong/more-exporters.js";
import { type Entry, entry } from "./entry.js";
import { exploredRace } from "./explored.js";
import { mockSubject } from "./mock.js";
import {
  AdmitsPinnedOnly,
  DoesNotWait,
  over,
  rightDirect,
  rightMemory,
} from "./mutants-exporter.js";
import {
  draftSubject,
  handmadeRight,
  headLength,
  narrowSum,
  otherAttributes,
  rangeByRange,
  unalignedChunks,
  wrongRegions,
} from "./mutants-table.js";
import { backendFails, exporterFails, exporterReported } from "./trials.js";
import { vfioSubject } from "./vfio.js";

const NV300 = "https://github.com/NVIDIA/NV-Kernels/pull/300";
const DRAFT = "the draft of October 2025";
const rightVfio = vfioSubject("vfio-pci");
const draftLarge = draftSubject("the draft, mended, large buffers", "large");
const draftRight = draftSubject("the draft, mended", "ordinary");

/** Defects of tables and IOVA, known-bugs B17 to B24, B56 and B57. */
export const tableEntries: readonly Entry[] = [
  entry(
    {
      id: "B17",
      title: "Integer overflow in a chunk's address",
      trigger: "one range of 8 GiB or more",
      wrong: "index times chunk size is computed in 32 bits: the third chunk has a wrong address",
      right: "a running address of 64 bits",
      rule: "dma-iova R27",
      evidence: "fixed by 590d745680",
      link: NV300,
    },
    exporterFails("map/more-than-4-gib", narrowChunks, rightDirect),
  ),
  entry(
    {
      id: "B18",
      title: "Chunks that are not whole pages",
      trigger: "a range above 4 GiB - 1",
      wrong: "split at 0xffffffff: the next address is inside a page",
      right: "split at 0xfffff000",
      rule: "vfio-pci-dmabuf R33",
      evidence: DRAFT,
    },
    exporterFails("map/more-than-4-gib", unalignedChunks, handmadeRight),
    exporterReported("table-misaligned", unalignedChunks, handmadeRight),
  ),
  entry(
    {
      id: "B19",
      title: "IOVA freed twice",
      trigger: "attach, map, unmap, detach",
      wrong: "destroy frees, detach frees again; later two devices get one IOVA",
      right: "unlink and free, or destroy alone",
      rule: "dma-iova R7",
      evidence: DRAFT,
    },
    exporterReported("iova-freed-twice", draftSubject("mutant", "ordinary", "D1"), draftRight),
  ),
  entry(
    {
      id: "B20",
      title: "IOVA used after it was freed",
      trigger: "map, unmap, map on one attachment",
      wrong: "the second map links into an IOVA that was given back",
      right: "reserve again, or keep until detach",
      rule: "dma-iova R7",
      evidence: DRAFT,
    },
    exporterReported("iova-used-after-free", draftSubject("mutant", "ordinary", "D1"), draftRight),
  ),
  entry(
    {
      id: "B21",
      title: "Length summed up in 32 bits",
      trigger: "4 GiB in all",
      wrong: "the length is 0: nothing is synced or unlinked, the last entry is empty",
      right: "64 bits, and a checked number of entries",
      rule: "dma-iova R27",
      evidence: `${DRAFT}, public`,
      link: "https://lists.linaro.org/archives/list/linaro-mm-sig@lists.linaro.org/message/ENBYGFQ6SOFMYLRN5V4BSDBCDSJV542G/",
    },
    exporterFails("map/more-than-4-gib", narrowSum, handmadeRight),
    exporterReported("table-size-mismatch", narrowSum, handmadeRight),
  ),
  entry(
    {
      id: "B22",
      title: "MMIO treated as cacheable at unlink",
      trigger: "unlink or destroy of MMIO for a device that is not coherent",
      wrong: "the CPU cleans its cache through an address that is no RAM",
      right: "MMIO skips that path",
      rule: "dma-iova R12",
      evidence: "fixed by 1a96f3a22f",
      link: NV300,
    },
    backendFails(
      "dma/cpu-stays-away-from-mmio",
      cleansMmio,
      countingSubject("reference, counting", false),
    ),
  ),
  entry(
    {
      id: "B23",
      title: "Unmap of wrong regions",
      trigger: "end of a list of several entries",
      wrong: "entries are unmapped by a wrong address or length",
      right: "exactly those that were mapped",
      rule: "dma-buf R25",
      evidence: "fixed by a54afbc8a2",
      link: NV300,
    },
    exporterReported("unmap-never-mapped", wrongRegions, rangeByRange),
  ),
  entry(
    {
      id: "B56",
      title: "Length taken from the head of the list",
      trigger: "a list of several entries, switch-local",
      wrong: "every entry gets the first one's length",
      right: "its own",
      rule: "dma-buf R23",
      evidence: "fixed by db50fb87015b, CVE-2026-74277",
      link: "https://osv.dev/vulnerability/CVE-2026-74277",
    },
    exporterFails("map/several-ranges-in-order", headLength, rightDirect),
    exporterReported("table-size-mismatch", headLength, rightDirect),
  ),
  entry(
    {
      id: "B57",
      title: "Map and unmap with different attributes",
      trigger: "map with one set, unmap with another",
      wrong: "unmap takes the path of ordinary memory",
      right: "the attributes are kept with the mapping",
      rule: "dma-buf R25",
      evidence: "inferred from the provider's dma_mapping_flags series",
    },
    exporterReported("unmap-mismatch", otherAttributes, rangeByRange),
  ),
  entry(
    {
      id: "B59",
      title: "MMIO attribute lost in a later domain",
      trigger: "map while one page table exists, then make another, or copy",
      wrong: "the later domain maps the BAR cached, without the MMIO mark",
      right: "marked in every domain",
      rule: "iommufd R10",
      evidence: "live in 7.2.13, found by reading",
    },
    backendFails(
      "space/mmio-in-every-domain",
      markingSubject("mutant", "cached"),
      markingSubject("reference, with attributes", "mmio"),
    ),
    backendFails("space/mmio-in-every-domain", mockSubject("linux-7.2"), mockSubject(undefined)),
  ),
];

/** Defects of the draft, vfio-pci-dmabuf D1 to D10. */
export const draftEntries: readonly Entry[] = [
  entry(
    {
      id: "D1",
      title: "IOVA freed by unmap and again by detach",
      trigger: "attach, map, unmap, detach",
      wrong: "n unmaps free n + 1 times",
      right: "unmap unlinks, detach frees",
      rule: "dma-iova R7",
      evidence: DRAFT,
    },
    exporterReported("iova-freed-twice", draftSubject("mutant", "ordinary", "D1"), draftRight),
  ),
  entry(
    {
      id: "D2",
      title: "Map after unmap links into a freed IOVA",
      trigger: "revoke, un-revoke, map again",
      wrong: "EADDRINUSE, or two buffers behind one address",
      right: "the IOVA is kept until detach",
      rule: "dma-iova R7",
      evidence: DRAFT,
    },
    exporterReported("iova-used-after-free", draftSubject("mutant", "ordinary", "D1"), draftRight),
  ),
  entry(
    {
      id: "D3",
      title: "Two mappings of one attachment share one IOVA",
      trigger: "map twice",
      wrong: "the second link collides; the first unmap takes the second mapping's IOVA",
      right: "each mapping has its own",
      rule: "vfio-pci-dmabuf R14",
      evidence: DRAFT,
    },
    exporterReported("iova-overlap", draftSubject("mutant", "ordinary", "D3"), draftRight),
    exporterFails(
      "map/two-maps-are-independent",
      draftSubject("mutant", "ordinary", "D3"),
      draftRight,
    ),
  ),
  entry(
    {
      id: "D4",
      title: "Every range linked at offset 0",
      trigger: "two ranges behind an IOMMU",
      wrong: "the second link collides",
      right: "links at the running offset",
      rule: "vfio-pci-dmabuf R36",
      evidence: DRAFT,
    },
    exporterReported("iova-overlap", draftSubject("mutant", "ordinary", "D4"), draftRight),
    exporterFails(
      "map/several-ranges-in-order",
      draftSubject("mutant", "ordinary", "D4"),
      draftRight,
    ),
  ),
  entry(
    {
      id: "D5",
      title: "Mapped length in 32 bits",
      trigger: "4 GiB or more",
      wrong: "sync, unlink and the last entry use the length that is left",
      right: "64 bits",
      rule: "dma-iova R27",
      evidence: DRAFT,
    },
    exporterFails("map/more-than-4-gib", draftSubject("mutant", "large", "D5"), draftLarge),
    exporterReported("iova-length-mismatch", draftSubject("mutant", "large", "D5"), draftLarge),
  ),
  entry(
    {
      id: "D6",
      title: "Chunks of UINT_MAX",
      trigger: "one range of 4 GiB or more",
      wrong: "the second entry begins inside a page",
      right: "chunks of 0xfffff000",
      rule: "vfio-pci-dmabuf R33",
      evidence: DRAFT,
    },
    exporterFails("map/more-than-4-gib", unalignedChunks, handmadeRight),
    exporterReported("table-misaligned", unalignedChunks, handmadeRight),
  ),
  entry(
    {
      id: "D7",
      title: "The way back unmaps what was never mapped",
      trigger: "mapping the second range fails",
      wrong: "address 0, length 0 is unmapped",
      right: "exactly what was mapped",
      rule: "dma-iova R31",
      evidence: `${DRAFT}; still so in 7.2.13`,
    },
    exporterReported(
      "unmap-never-mapped",
      vfioSubject("vfio-pci, quirks linux-7.2", { quirks: "linux-7.2", mode: "passthrough" }),
      vfioSubject("vfio-pci, passthrough", { mode: "passthrough" }),
    ),
  ),
  entry(
    {
      id: "D8",
      title: "IOVA space for importers that never map",
      trigger: "iommufd attaches",
      wrong: "space for the whole buffer is reserved for nothing",
      right: "taken at map",
      rule: "vfio-pci-dmabuf R14",
      evidence: DRAFT,
    },
    exporterFails("attach/takes-no-iova", reservesAtAttach, rightMemory),
  ),
  entry(
    {
      id: "D9",
      title: "The way is frozen at attach",
      trigger: "ACS or the domain changes between attach and map",
      wrong: "maps go the way of before",
      right: "asked again at each map",
      rule: "vfio-pci-dmabuf R12",
      evidence: DRAFT,
    },
    exporterFails("map/asks-for-the-way-each-time", frozenRoute, rightVfio),
    exporterFails("map/asks-for-the-way-each-time", frozenRoute, deviceSubject("reference device")),
  ),
  entry(
    {
      id: "D10",
      title: "Revocation is no barrier",
      trigger: "reset with a pinned-only importer, or with DMA in flight",
      wrong:
        "no wait for fences and unmaps; the pinned-only importer keeps its DMA through the reset",
      right: "both are waited for, and such an importer is refused",
      rule: "vfio-pci-dmabuf R16, R10",
      evidence: DRAFT,
    },
    exporterFails("revoke/waits-for-fences-of-every-usage", over(DoesNotWait), rightMemory),
    exporterFails(
      "attach/refuses-importer-that-cannot-be-revoked",
      over(AdmitsPinnedOnly),
      rightMemory,
    ),
    exploredRace("reported: DMA into memory", { buffer: DoesNotWait, scene: "fences-its-dma" }),
  ),
];
