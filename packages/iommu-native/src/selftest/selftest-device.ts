import { type DmaDevice, dispose, isDmaBufError } from "@peerbar/core";
import { addressOf, ioctlStruct, iommufdTest } from "@peerbar/linux";
import { type Causes, explained } from "../explain.js";
import { type AttachPoint, setAttachPoint } from "../iommufd/attach-point.js";
import type { NativeIommu } from "../iommufd/native-iommu.js";

/** Addresses that a mock device's page table has (iommufd R35). */
const APERTURE_LAST = BigInt(iommufdTest.MOCK_APERTURE_LAST);

/**
 * A device of the iommufd selftest (`IOMMU_TEST_OP_MOCK_DOMAIN`): it has page tables and no DMA. It can be asked where an IOVA leads.
 * While it is attached nowhere it sits in an address space of its own.
 */
export class SelftestDevice implements DmaDevice, Disposable {
  readonly name: string;
  readonly pciAddress = undefined;
  readonly dmaMask = APERTURE_LAST;
  readonly #iommu: NativeIommu;
  readonly #parking: number;
  readonly #standIn: number;
  readonly #parkedIn: number;
  readonly #point: AttachPoint;
  #hwpt: number;
  #open = true;

  /** @throws DmaBufError ENOTTY: the kernel has no CONFIG_IOMMUFD_TEST. */
  constructor(iommu: NativeIommu, name: string) {
    this.name = name;
    this.#iommu = iommu;
    const { file } = iommu;
    this.#parking = file.allocIoas();
    try {
      const { out } = explained(
        () => ioctlStruct(file.fd, iommufdTest.IOMMU_TEST_OP_MOCK_DOMAIN, { id: this.#parking }),
        selftestCauses,
      );
      this.#standIn = out.out_stdev_id;
      this.#parkedIn = out.out_hwpt_id;
      this.#hwpt = out.out_hwpt_id;
      const point: AttachPoint = {
        file,
        id: out.out_idev_id,
        attach: (pt) => this.#replace(pt),
        detach: () => {
          if (this.#open) this.#replace(this.#parking);
        },
      };
      this.#point = point;
      setAttachPoint(this, () => point);
    } catch (error) {
      file.destroy(this.#parking);
      throw error;
    }
  }

  /** Page table in use; undefined while attached nowhere. */
  get hwpt(): number | undefined {
    return this.#hwpt === this.#parkedIn ? undefined : this.#hwpt;
  }

  /**
   * Whether `iova` leads to the very page that `bytes` lies in (`IOMMU_TEST_OP_MD_CHECK_MAP`, iommufd R36). Permissions are not looked at.
   *
   * @param bytes - 2048 bytes or a multiple, at a multiple of 2048 in this process, of memory that was mapped into the address space.
   */
  reaches(iova: bigint, bytes: Uint8Array): boolean {
    try {
      ioctlStruct(this.#iommu.file.fd, iommufdTest.IOMMU_TEST_OP_MD_CHECK_MAP, {
        id: this.#hwpt,
        iova,
        length: BigInt(bytes.length),
        uptr: addressOf(bytes),
      });
      return true;
    } catch (error) {
      if (isDmaBufError(error) && error.code === "EINVAL") return false;
      throw error;
    }
  }

  /** Removes the device. Twice is harmless. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#iommu.file.destroy(this.#standIn);
    this.#point.place = undefined;
    this.#iommu.file.destroy(this.#parking);
  }

  [dispose](): void {
    this.close();
  }

  #replace(pt: number): number {
    const { out } = ioctlStruct(
      this.#iommu.file.fd,
      iommufdTest.IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
      { id: this.#standIn, pt_id: pt },
    );
    this.#hwpt = pt === this.#parking ? this.#parkedIn : out.pt_id;
    return out.pt_id;
  }
}

/** @internal A kernel without the door says ENOTTY, one without the op EOPNOTSUPP. */
export function selftestCauses(): Causes {
  const absent = {
    reason: "this kernel has no iommufd selftest",
    hint: "a kernel with CONFIG_IOMMUFD_TEST: pnpm lab builds one",
    rule: "iommufd section 7",
  };
  return { ENOTTY: absent, EOPNOTSUPP: absent };
}
