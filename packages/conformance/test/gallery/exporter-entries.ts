import type { VfioPciDevice } from "@peerbar/vfio-pci";
import { deviceSubject } from "../fixtures/device-exporter.js";
import { memorySubject } from "../fixtures/subjects.js";
import {
  disablesFirst,
  exportsForeignMemory,
  exposesTheTail,
  leaksWithoutFd,
  losesBit63,
  lowPowerHole,
  restoresAfterReset,
  unwindsTwice,
  wrapsRanges,
} from "../wrong/more-exporters.js";
import { type Entry, entry } from "./entry.js";
import { exploredRace } from "./explored.js";
import {
  AdmitsPinnedOnly,
  DoesNotWait,
  FlagsAfterwards,
  krefRight,
  NeverRearms,
  over,
  rightMemory,
  WaitsForKernelFences,
} from "./mutants-exporter.js";
import { exporterFails, exporterReported } from "./trials.js";
import { patched, vfioSubject } from "./vfio.js";

const NV = "https://github.com/NVIDIA/NV-Kernels/pull/583";
const rightDevice = deviceSubject("reference device");
const rightVfio = vfioSubject("vfio-pci");
const linux = vfioSubject("vfio-pci, quirks linux-7.2", { quirks: "linux-7.2" });
const rightPassthrough = vfioSubject("vfio-pci, passthrough", { mode: "passthrough" });

/** Defects of the VFIO exporter, known-bugs B1 to B16. */
export const exporterEntries: readonly Entry[] = [
  entry(
    {
      id: "B1",
      title: "Reference count underflow after revoke",
      trigger: "map, reset, un-revoke, map again, reset",
      wrong: "the count starts at 0 and the completion is used up: the second revoke returns early",
      right: "after each revoke the count is 1 and the completion is armed again",
      rule: "vfio-pci-dmabuf R17",
      evidence: "fixed by c64a647c84f3",
      link: "https://lore.kernel.org/all/20260507143548.1018405-1-alex.williamson@nvidia.com",
    },
    exporterFails("revoke/cycles", over(NeverRearms), krefRight),
    exploredRace("reported: DMA into memory", {
      buffer: NeverRearms,
      scene: "unmaps-late",
      resets: 2,
    }),
  ),
  entry(
    {
      id: "B2",
      title: "Revoke does not wait",
      trigger: "an importer with a pending fence, or one that unmaps late; device reset",
      wrong: "the reset starts while the importer may still DMA",
      right: "all fences up to BOOKKEEP, then every unmap, are waited for",
      rule: "vfio-pci-dmabuf R16",
      evidence: "fixed by 1a8a5227f229",
      link: "https://patchew.org/linux/20260124-dmabuf-revoke-v5-0-f98fca917e96@nvidia.com/20260124-dmabuf-revoke-v5-4-f98fca917e96@nvidia.com",
    },
    exporterFails("revoke/waits-for-the-last-unmap", over(DoesNotWait), rightMemory),
    exploredRace("reported: DMA into memory", { buffer: DoesNotWait, scene: "fences-its-dma" }),
  ),
  entry(
    {
      id: "B3",
      title: "Wait on the wrong fence class",
      trigger: "an importer adds a BOOKKEEP fence, the exporter waits for KERNEL ones",
      wrong: "the wait returns early",
      right: "BOOKKEEP, which is every fence",
      rule: "dma-buf R34",
      evidence: "public: changelog of version 4 of that series",
      link: "https://lore-kernel.gnuweeb.org/linux-media/20260127204530.GX13967@unreal/T",
    },
    exporterFails(
      "revoke/waits-for-fences-of-every-usage",
      memorySubject("mutant", (memory) => new WaitsForKernelFences({ memory })),
      rightMemory,
    ),
    exploredRace("reported: DMA into memory", {
      exporter: WaitsForKernelFences,
      scene: "fences-its-dma",
    }),
  ),
  entry(
    {
      id: "B4",
      title: "Pinned-only importer admitted",
      trigger: "an importer that takes peer memory and has no invalidate operation attaches",
      wrong: "attach succeeds; a revoke never reaches it, or waits for ever",
      right: "EOPNOTSUPP at attach",
      rule: "vfio-pci-dmabuf R10",
      evidence: "fixed by 61ceaf236115",
      link: "https://lkml.iu.edu/hypermail/linux/kernel/2601.3/02506.html",
    },
    exporterFails(
      "attach/refuses-importer-that-cannot-be-revoked",
      over(AdmitsPinnedOnly),
      rightMemory,
    ),
  ),
  entry(
    {
      id: "B5",
      title: "Double free in the export ioctl",
      trigger: "no descriptor is free after the export",
      wrong: "after the put the whole unwind runs again: private state is freed twice",
      right: "only dma_buf_put; the errno is kept",
      rule: "dma-buf R3",
      evidence: "fixed by e98137f0a874, CVE-2026-31468",
      link: "https://osv.dev/vulnerability/CVE-2026-31468",
    },
    exporterFails("export/failed-fd-releases-once", unwindsTwice, rightMemory),
  ),
  entry(
    {
      id: "B6",
      title: "Function disabled before buffers are revoked at close",
      trigger: "close the device with a live mapping",
      wrong: "memory decode ends while peers still reach for the BAR",
      right: "revoke and drain, then disable",
      rule: "vfio-pci-dmabuf R28",
      evidence: "fixed by d97708701434",
      link: NV,
    },
    exporterFails("close/drains-before-it-disables", disablesFirst, rightDevice),
  ),
  entry(
    {
      id: "B7",
      title: "BAR not checked for ownership",
      trigger: "export a BAR that another driver has claimed",
      wrong: "MMIO that vfio does not own is exported",
      right: "ENODEV",
      rule: "vfio-pci-dmabuf V12",
      evidence: "fixed by 702809dabdec, CVE-2026-64042",
      link: "https://osv.dev/vulnerability/CVE-2026-64042",
    },
    exporterFails(
      "export/refuses-what-it-does-not-own",
      vfioSubject("mutant", { ownership: "ignored" }),
      rightVfio,
    ),
    exporterFails("export/refuses-what-it-does-not-own", exportsForeignMemory, rightDevice),
  ),
  entry(
    {
      id: "B8",
      title: "Provider for BARs that cannot be mapped",
      trigger: "export from a device with non_mappable_bars",
      wrong: "a provider slot is returned and the export works",
      right: "no provider: EINVAL, in practice ENODEV before",
      rule: "p2pdma R4",
      evidence: "fixed by 951ebc18d181",
      link: NV,
    },
    exporterFails(
      "export/refuses-what-it-does-not-own",
      vfioSubject("mutant", { ownership: "ignored", nonMappable: true }),
      vfioSubject("vfio-pci, a device nobody may map", { nonMappable: true }),
    ),
  ),
  entry(
    {
      id: "B9",
      title: "Several ranges linked at offset 0",
      trigger: "an importer behind an IOMMU, a buffer of two ranges",
      wrong: "the second link collides, map always fails",
      right: "each link at the bytes linked so far",
      rule: "vfio-pci-dmabuf R36",
      evidence: "live in 7.2.13, found by reading",
    },
    exporterFails("map/several-ranges-in-order", linux, rightVfio),
    exporterReported("iova-overlap", linux, rightVfio),
  ),
  entry(
    {
      id: "B10",
      title: "IOVA leaked on an early failure",
      trigger: "the first link fails after the IOVA was reserved",
      wrong: "the IOVA never comes back",
      right: "it is freed",
      rule: "vfio-pci-dmabuf R37",
      evidence: "live in 7.2.13, found by reading",
    },
    exporterFails("map/failure-leaves-nothing", linux, rightVfio),
  ),
  entry(
    {
      id: "B11",
      title: "The way back touches entries never mapped",
      trigger: "mapping the second range fails",
      wrong: "address 0, length 0 is unmapped",
      right: "exactly what was mapped is unmapped",
      rule: "vfio-pci-dmabuf R38",
      evidence: "live in 7.2.13, found by reading",
    },
    exporterReported(
      "unmap-never-mapped",
      vfioSubject("vfio-pci, quirks linux-7.2", { quirks: "linux-7.2", mode: "passthrough" }),
      rightPassthrough,
    ),
  ),
  entry(
    {
      id: "B12",
      title: "Flag set after the notification",
      trigger: "an importer maps inside or right after its invalidation",
      wrong: "the new mapping survives the revoke",
      right: "the flag first, under the reservation",
      rule: "vfio-pci-dmabuf R18",
      evidence: "inferred from the order in vfio_pci_dma_buf_move",
    },
    exporterFails("revoke/no-map-slips-in", over(FlagsAfterwards), rightMemory),
    exploredRace("lost-wakeup", { buffer: FlagsAfterwards, scene: "stays-until-told" }),
  ),
  entry(
    {
      id: "B13",
      title: "Un-revoke while memory is disabled",
      trigger: "clear the memory bit, then reset",
      wrong: "the reset gives buffers back, and peers hit a BAR that does not decode",
      right: "only where memory is enabled",
      rule: "vfio-pci-dmabuf R22",
      evidence: "inferred from the guards of R22",
    },
    exporterFails(
      "revoke/reset-does-not-restore",
      vfioSubject("mutant", { wrap: restoresAlways }),
      rightVfio,
    ),
    exporterFails("revoke/reset-does-not-restore", restoresAfterReset, rightDevice),
  ),
  entry(
    {
      id: "B14",
      title: "Low-power hole",
      trigger: "enter low power, then export, or write PCI_COMMAND with memory on",
      wrong: "the buffer is usable although the device may be in D3cold",
      right: "revoked until low power is left",
      rule: "vfio-pci-dmabuf R26",
      evidence: "live in 7.2.13, suspected",
    },
    exporterFails("revoke/low-power-holds", linux, rightVfio),
    exporterFails("revoke/low-power-holds", lowPowerHole, rightDevice),
  ),
  entry(
    {
      id: "B15",
      title: "Range bounds without an overflow test",
      trigger:
        "offset 2^64 minus a page, length two pages; or one page past an end that was rounded up",
      wrong: "the sum wraps and foreign memory is exported; or the tail page is",
      right: "EOVERFLOW, EINVAL",
      rule: "vfio-pci-dmabuf V19, V20",
      evidence: "inferred",
    },
    exporterFails("export/range-bounds", wrapsRanges, rightMemory),
    exporterFails("export/range-bounds", exposesTheTail, rightMemory),
  ),
  entry(
    {
      id: "B16",
      title: "Size with bit 63",
      trigger: "overlapping ranges that sum up to 2^63 bytes or more",
      wrong: "the size collides with the swiotlb marker and is freed wrongly",
      right: "EINVAL",
      rule: "vfio-pci-dmabuf V16",
      evidence: "guard in the source",
    },
    exporterFails("export/size-with-bit-63", losesBit63, rightMemory),
  ),
  entry(
    {
      id: "B51",
      title: "Descriptor reference after a failed dma_buf_fd",
      trigger: "no descriptor is free",
      wrong: "the reference is forgotten, or put twice",
      right: "on failure the caller still owns it and puts it once",
      rule: "dma-buf R3",
      evidence: "inferred",
    },
    exporterFails("export/failed-fd-releases-once", leaksWithoutFd, rightMemory),
    exporterFails("export/failed-fd-releases-once", unwindsTwice, rightMemory),
  ),
];

/** The way out of a reset without the question whether memory is on. */
function restoresAlways(device: VfioPciDevice): VfioPciDevice {
  return patched(device, {
    reset: async (options) => {
      await device.reset(options);
      const { list } = device.gate;
      const guard = await list.memoryLock.lock();
      await list.move(false);
      guard.release();
    },
  });
}
