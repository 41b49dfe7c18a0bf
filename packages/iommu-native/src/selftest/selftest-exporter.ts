import type { EventSink, Scheduler, WaitOptions } from "@peerbar/core";
import { adoptFd, ioctl, ioctlStruct, iommufdTest, O_CLOEXEC, O_RDWR } from "@peerbar/linux";
import { NativeDmaBuf } from "../buffers/native-dma-buf.js";
import { type Causes, explained } from "../explain.js";
import type { NativeIommu } from "../iommufd/native-iommu.js";
import { selftestCauses } from "./selftest-device.js";

/** How the exporter's buffers are made. */
interface SelftestExporterOptions {
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
}

/**
 * The exporter of the iommufd selftest: contiguous zeroed memory that iommufd takes for MMIO and that can be revoked at will
 * (iommufd R31 to R34). Nobody can read it.
 */
export class SelftestExporter {
  readonly #iommu: NativeIommu;
  readonly #options: SelftestExporterOptions;

  /** @param iommu - stays the caller's, open as long as the exporter is used; the kernel must have CONFIG_IOMMUFD_TEST */
  constructor(iommu: NativeIommu, options: SelftestExporterOptions = {}) {
    this.#iommu = iommu;
    this.#options = options;
  }

  /**
   * `IOMMU_TEST_OP_DMABUF_GET`.
   *
   * @param length - bytes, rounded up to pages.
   * @throws DmaBufError EINVAL for 0 or more than 2 MiB (iommufd R31); ENOTTY without the selftest.
   */
  export(length: number): NativeDmaBuf {
    return NativeDmaBuf.adopt(this.exportFd(length), { ...this.#options, name: "iommufd" });
  }

  /** The bare descriptor, which the caller closes. @throws as {@link export}. */
  exportFd(length: number): number {
    const request = iommufdTest.IOMMU_TEST_OP_DMABUF_GET;
    const bytes = request.struct.encode({ length, open_flags: O_CLOEXEC | O_RDWR });
    const fd = explained(() => ioctl(this.#iommu.file.fd, request, bytes), getCauses);
    return adoptFd(fd, "dma-buf of the iommufd selftest");
  }

  /**
   * `IOMMU_TEST_OP_DMABUF_REVOKE`: tells this process's importers, then the kernel. Lifting a revoke also ends every mapping that exists
   * (iommufd R32).
   */
  async revoke(buffer: NativeDmaBuf, revoked: boolean, options?: WaitOptions): Promise<void> {
    const held = await buffer.reservation.lock(options);
    try {
      buffer.invalidateMappings(held);
      this.revokeNow(buffer.fd, revoked);
    } finally {
      held.release();
    }
  }

  /** The kernel alone: for exporters that tell importers themselves. @throws DmaBufError EOPNOTSUPP for another exporter's buffer. */
  revokeNow(fd: number, revoked: boolean): void {
    ioctlStruct(this.#iommu.file.fd, iommufdTest.IOMMU_TEST_OP_DMABUF_REVOKE, {
      dmabuf_fd: fd,
      revoked: revoked ? 1 : 0,
    });
  }
}

function getCauses(): Causes {
  return {
    ...selftestCauses(),
    EINVAL: { reason: "a length of 0, or above 2 MiB", rule: "iommufd R31" },
  };
}
