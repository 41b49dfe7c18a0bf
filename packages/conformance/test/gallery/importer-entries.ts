import { type PhysicalMemory, SimpleImport, SimpleImporter } from "@peerbar/conformance/reference";
import type { DmaBufReference, Slice } from "@peerbar/core";
import { simpleIommuSubject } from "../fixtures/backends.js";
import { DeviceExporter, deviceSubject } from "../fixtures/device-exporter.js";
import { simpleImporterSubject } from "../fixtures/importers.js";
import { wrongBackends } from "../wrong/backends.js";
import { leaksWithoutFd, ReadsItsDevice, readsTheDevice } from "../wrong/more-exporters.js";
import {
  freesTheKey,
  givesCpuPages,
  keyedSubject,
  paged,
  releasesUnderTheLock,
  revivesByRereg,
  stalePageSize,
} from "../wrong/more-importers.js";
import { type Entry, entry } from "./entry.js";
import { closeRace, exploredRace, exploring, lockRace } from "./explored.js";
import { DoesNotCount, over, rightMemory } from "./mutants-exporter.js";
import {
  AttachesBeforeReady,
  AttachesStatically,
  DecidesBeforeTheLock,
  DestroysFirst,
  directRight,
  dynamicRight,
  FirstSegmentOnly,
  importing,
  KeepsTheMapping,
  pinnedRight,
  SetsItsCallbackLate,
  UnmapsTheTrimmed,
  UnmapsTwice,
  UnpinsTwice,
  UnpinsUnlocked,
} from "./mutants-importer.js";
import { backendFails, exporterFails, importerFails, importerReported } from "./trials.js";

const NV = "https://github.com/NVIDIA/NV-Kernels/pull/583";
const ROCM = "https://github.com/ROCm/rocm-xio/pull/201";
const IPFIRE =
  "https://git.ipfire.org/gitweb.cgi?a=commit&h=ff85a2ebacbdaec9f28c4660c991295ace93cd1c&p=thirdparty%2Fkernel%2Flinux.git";
const keyed = keyedSubject("reference, with keys");
const rightBackend = simpleIommuSubject("reference");

/** Defects of iommufd, known-bugs B25 to B31, B58, B60 and B61. */
export const iommufdEntries: readonly Entry[] = [
  entry(
    {
      id: "B25",
      title: "Pages destroyed before detach",
      trigger: "unmap the last area while the exporter revokes",
      wrong: "the callback uses what is destroyed",
      right: "detach, then destroy",
      rule: "iommufd R21",
      evidence: "fixed by f2d70dbd3dce, CVE-2026-74328",
      link: "https://osv.dev/vulnerability/CVE-2026-74328",
    },
    importerFails("race/revoke-during-close", importing(DestroysFirst), dynamicRight),
    exploredRace("actor-failed", { imported: DestroysFirst }),
  ),
  entry(
    {
      id: "B26",
      title: "Access pin of dma-buf pages",
      trigger: "in-kernel access to an area that a dma-buf is behind",
      wrong: "MMIO is taken for pages",
      right: "EINVAL",
      rule: "iommufd R13",
      evidence: "fixed by 5f3fc0ad9a41, found by fuzzing",
      link: NV,
    },
    importerFails("import/no-cpu-pages", givesCpuPages, keyed),
  ),
  entry(
    {
      id: "B27",
      title: "Selftest dma-buf leaked",
      trigger: "DMABUF_GET with no free descriptor",
      wrong: "the buffer is never released",
      right: "dma_buf_put",
      rule: "iommufd R34",
      evidence: "fixed by dba4254e216d; live in 7.2.13",
      link: "https://github.com/NVIDIA/NV-Kernels/pull/584",
    },
    exporterFails("export/failed-fd-releases-once", leaksWithoutFd, rightMemory),
  ),
  entry(
    {
      id: "B28",
      title: "Unmapped again after a revoke",
      trigger: "revoke, then unmap",
      wrong: "an empty range, or a newer mapping, is unmapped",
      right: "skipped where revoked",
      rule: "iommufd R18",
      evidence: "inferred",
    },
    importerFails("close/after-revoke-leaves-nothing", importing(UnmapsTwice), dynamicRight),
    importerReported("double-unmap", importing(UnmapsTwice), dynamicRight),
    exploredRace("reported: sanitizer: double-unmap", { imported: UnmapsTwice }),
  ),
  entry(
    {
      id: "B29",
      title: "New domain filled from a revoked buffer",
      trigger: "revoke, then allocate a page table",
      wrong: "dead MMIO is mapped again",
      right: "tracked, not filled, success",
      rule: "iommufd R17",
      evidence: "inferred",
    },
    backendFails(
      "space/late-domain-is-filled",
      wrongBackend("space/late-domain-is-filled"),
      rightBackend,
    ),
  ),
  entry(
    {
      id: "B30",
      title: "One domain missed at revoke",
      trigger: "two page tables, or a copy, then revoke",
      wrong: "only the first domain is unmapped",
      right: "every pair of area and domain",
      rule: "iommufd R14",
      evidence: "public: rationale of the iommufd series",
      link: "https://lists-ec2.96boards.org/archives/list/linux-kselftest-mirror@lists.linaro.org/message/GEJBR5UERKP6HNDVHSXLIRHPAJUAQEFC",
    },
    backendFails(
      "space/revoke-reaches-every-domain",
      wrongBackend("space/revoke-reaches-every-domain"),
      rightBackend,
    ),
  ),
  entry(
    {
      id: "B31",
      title: "Lock inversion between pages and reservation",
      trigger: "map a file while the exporter revokes",
      wrong: "mutex, then reservation, against reservation, then mutex: both wait for ever",
      right: "the reservation first",
      rule: "iommufd R20",
      evidence: "source comment on the lock class",
    },
    exploring(
      "lock-order",
      () => lockRace("mutant", true),
      () => lockRace("right", false),
    ),
  ),
  entry(
    {
      id: "B58",
      title: "Unpin without the reservation",
      trigger: "the last unmap of an area",
      wrong: "unpin runs without the lock and races with the exporter",
      right: "locked for the unpin alone, then detach without",
      rule: "iommufd R21",
      evidence: "fixed by e745cd2c749e, CVE-2026-80633",
      link: "https://osv.dev/vulnerability/CVE-2026-80633",
    },
    importerFails("close/leaves-nothing", importing(UnpinsUnlocked, "pinned"), pinnedRight),
    importerReported("map-without-lock", importing(UnpinsUnlocked, "pinned"), pinnedRight),
    exploredRace("reported: sanitizer: map-without-lock", {
      imported: UnpinsUnlocked,
      mode: "pinned",
    }),
  ),
  entry(
    {
      id: "B60",
      title: "Device pointer used without its lock at attach",
      trigger: "attach while, or after, the device closes",
      wrong: "a pointer that close has set to NULL is followed",
      right: "a reference of its own; the pointer only under memory_lock",
      rule: "vfio-pci-dmabuf R28",
      evidence: "public: review of the mapping-type series",
      link: "https://lists.linaro.org/archives/list/linaro-mm-sig%40lists.linaro.org/thread/OCIJU7TEHU4HLVZ2NQM2PJKL5SMB7R44/",
    },
    exporterFails("close/buffers-stay-objects", readsTheDevice, deviceSubject("reference device")),
    exploring(
      "actor-failed",
      () => closeRace("mutant", ReadsItsDevice),
      () => closeRace("right", DeviceExporter),
    ),
  ),
  entry(
    {
      id: "B61",
      title: "Exporter that does not count its mappings",
      trigger: "revoke with a live mapping",
      wrong: "revoke returns while mapped",
      right: "map and unmap are counted, revoke drains",
      rule: "vfio-pci-dmabuf R13",
      evidence: "public: review of an RDMA exporter",
    },
    exporterFails("revoke/waits-for-the-last-unmap", over(DoesNotCount), rightMemory),
    exploredRace("reported: DMA into memory", { buffer: DoesNotCount, scene: "unmaps-late" }),
  ),
];

/** Defects of RDMA and other importers, known-bugs B24 and B32 to B43. */
export const rdmaEntries: readonly Entry[] = [
  entry(
    {
      id: "B24",
      title: "Trim not restored before unmap",
      trigger: "register a part of the buffer, invalidate, deregister",
      wrong: "the exporter unmaps trimmed addresses: IOVA is leaked",
      right: "both ends are restored first; here the table is never trimmed, only viewed",
      rule: "rdma-umem R10",
      evidence: "inferred from ib_umem_dmabuf_unmap_pages",
    },
    importerFails("import/bytes-arrive", importing(UnmapsTheTrimmed), dynamicRight),
    importerReported("unmap-never-mapped", importing(UnmapsTheTrimmed), dynamicRight),
  ),
  entry(
    {
      id: "B32",
      title: "Double unpin on a failed registration",
      trigger: "pin succeeds, map fails",
      wrong: "the error path unpins, then release unpins again",
      right: "once",
      rule: "rdma-umem R3",
      evidence: "fixed by 104016eb671e",
    },
    importerFails("error/map-passed-through", importing(UnpinsTwice, "pinned"), pinnedRight),
    importerReported("pin-imbalance", importing(UnpinsTwice, "pinned"), pinnedRight),
    exploredRace("reported: sanitizer: pin-imbalance", { imported: UnpinsTwice, mode: "pinned" }),
  ),
  entry(
    {
      id: "B33",
      title: "Key used again after a revoke",
      trigger: "revoke a region, register another before it is deregistered",
      wrong: "the new region gets the old key: a stale remote access succeeds",
      right: "the key is taken until deregistration",
      rule: "rdma-umem R17",
      evidence: "source comment",
      link: IPFIRE,
    },
    importerFails("invalidate/key-stays-taken", freesTheKey, keyed),
  ),
  entry(
    {
      id: "B34",
      title: "Re-register revives a revoked region",
      trigger: "revoke, then change domain or access flags",
      wrong: "the hardware entry is valid again over freed addresses",
      right: "EINVAL unless the translation changes",
      rule: "rdma-umem R29",
      evidence: "source comment in irdma_rereg_user_mr",
    },
    importerFails("rereg/does-not-revive", revivesByRereg, keyed),
  ),
  entry(
    {
      id: "B35",
      title: "Self-deadlock: release under the reservation",
      trigger: "re-register a dma-buf region with another translation",
      wrong: "the release locks what is locked",
      right: "unlock first",
      rule: "rdma-umem R15",
      evidence: "source comment in irdma",
    },
    importerFails("rereg/takes-other-memory", releasesUnderTheLock, keyed),
  ),
  entry(
    {
      id: "B36",
      title: "Revoke between get and callback",
      trigger: "the exporter revokes right after pin and map",
      wrong: "no driver callback runs, the hardware stays valid",
      right: "the lock is held from get until the callback is set",
      rule: "rdma-umem R4",
      evidence: "public",
      link: IPFIRE,
    },
    importerFails("race/revoke-during-import", importing(SetsItsCallbackLate), dynamicRight),
    exploredRace("lost-wakeup", { imported: SetsItsCallbackLate, scene: "stays-until-told" }),
  ),
  entry(
    {
      id: "B37",
      title: "Attach before the importer's object is ready",
      trigger: "the exporter invalidates right after attach",
      wrong: "the callback runs on an empty object",
      right: "initialise, attach last",
      rule: "dma-buf R13",
      evidence: "public: drm/xe",
      link: "https://github.com/intel-gpu/xekmd-backports/pull/395",
    },
    importerFails("race/revoke-during-import", importing(AttachesBeforeReady), dynamicRight),
    exploredRace("actor-failed", { imported: AttachesBeforeReady }),
  ),
  entry(
    {
      id: "B38",
      title: "Static attach moves the memory silently",
      trigger: "an importer uses dma_buf_attach for peer-to-peer",
      wrong: "the exporter moves to host memory; bytes go to the wrong place without an error",
      right: "dynamic attach that allows peer-to-peer",
      rule: "dma-buf R10",
      evidence: "public: amdgpu and rocm-xio",
      link: ROCM,
    },
    importerFails("attach/allows-peer2peer", importing(AttachesStatically), dynamicRight),
  ),
  entry(
    {
      id: "B39",
      title: "Only segment 0 used",
      trigger: "a mapping of several segments",
      wrong: "base plus offset past segment 0 is other memory",
      right: "walk the list, or refuse",
      rule: "rdma-umem R7",
      evidence: "public, the same change",
      link: ROCM,
    },
    importerFails(
      "import/several-ranges",
      importing(FirstSegmentOnly, "dynamic", false),
      directRight,
    ),
  ),
  entry(
    {
      id: "B40",
      title: "Mapping leaked on invalidation",
      trigger: "the exporter revokes a registered region",
      wrong: "the mapping is not released",
      right: "unmapped once, in the callback",
      rule: "rdma-umem R12",
      evidence: "public: nv_peer_memory",
      link: "https://github.com/Mellanox/nv_peer_memory/issues/14",
    },
    importerFails("invalidate/unmaps-in-bounded-time", importing(KeepsTheMapping), dynamicRight),
    exploredRace("reported: sanitizer: mapping-leaked", { imported: KeepsTheMapping }),
  ),
  entry(
    {
      id: "B41",
      title: "Invalidate races with teardown",
      trigger: "revoke and deregister at once",
      wrong: "released twice, or a dead context is used",
      right: "serialised by the reservation, idempotent",
      rule: "rdma-umem R13",
      evidence: "public",
      link: "https://github.com/Mellanox/nv_peer_memory/issues/53",
    },
    importerFails("race/revoke-during-close", importing(DecidesBeforeTheLock), dynamicRight),
    exploredRace("reported: sanitizer: double-unmap", { imported: DecidesBeforeTheLock }),
  ),
  entry(
    {
      id: "B42",
      title: "Stale page size after a remap",
      trigger: "move a dynamic region to a less aligned place, fault again",
      wrong: "the old page size leads to wrong addresses",
      right: "computed anew, the translation rebuilt where it changes",
      rule: "rdma-umem R34",
      evidence: "inferred from pagefault_dmabuf_mr",
    },
    importerFails("restore/scattered-after-a-move", stalePageSize, paged),
  ),
  entry(
    {
      id: "B43",
      title: "CPU page of a peer-to-peer list used",
      trigger: "the importer takes sg_page() of an entry",
      wrong:
        "there is no page; a table here has none, so the nearest is a DMA address taken for a CPU one",
      right: "DMA address and length alone",
      rule: "dma-buf R23",
      evidence: "source: wrapper of CONFIG_DMABUF_DEBUG",
    },
    importerFails("import/bytes-arrive", takesCpuAddresses(), dynamicRight),
  ),
];

function wrongBackend(id: string) {
  const subject = wrongBackends[id];
  if (subject === undefined) throw new TypeError(`no backend is wrong in ${id}`);
  return subject;
}

/** B43: the CPU writes where the list says, as if that were memory. */
function takesCpuAddresses() {
  const memories = new WeakMap<object, PhysicalMemory>();
  const subject = simpleImporterSubject("mutant", "dynamic", (device) => {
    const importer = new (class extends SimpleImporter {
      protected override makeImport(reference: DmaBufReference, slice: Slice): SimpleImport {
        return new (class extends SimpleImport {
          override async write(offset: bigint, bytes: Uint8Array): Promise<boolean> {
            const memory = memories.get(device.engine ?? device);
            const held = await this.buffer.reservation.lock();
            try {
              await this.mapHeld(held);
              if (this.table === undefined || memory === undefined) return false;
              const { address } = this.table.locate(this.slice.offset + offset);
              return memory.write(address, bytes) === bytes.length;
            } finally {
              held.release();
            }
          }
        })(this, reference, slice);
      }
    })(device);
    last = device.engine ?? device;
    return importer;
  });
  let last: object | undefined;
  const setup = async () => {
    const fixture = await subject.setup();
    if (last !== undefined) memories.set(last, fixture.memory);
    return fixture;
  };
  return { ...subject, setup };
}
