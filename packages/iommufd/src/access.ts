import { ADDRESS_LIMIT, DmaBufError, dispose, hex, type Iova } from "@peerbar/core";
import type { AreaList } from "./area-list.js";
import type { IommufdObject } from "./object-table.js";

const REFUSED = "the area shows a dma-buf: there are no pages to hand to the CPU";
const RULE = "iommufd section 5";

/**
 * An in-kernel user of an address space (`struct iommufd_access`: mediated devices, the selftest). It wants CPU pages, and the memory of a
 * dma-buf has none, so every request is refused, before and after a revoke (known-bugs B26).
 */
export class IommufdAccess implements IommufdObject, Disposable {
  readonly type = "access";
  readonly id: number;
  readonly #areas: AreaList;
  readonly #onClose: (access: IommufdAccess) => void;
  #open = true;

  /** @internal Made by {@link Ioas}. */
  constructor(id: number, areas: AreaList, onClose: (access: IommufdAccess) => void) {
    this.id = id;
    this.#areas = areas;
    this.#onClose = onClose;
  }

  /**
   * `iommufd_access_pin_pages`.
   *
   * @throws DmaBufError always: EINVAL for a length of 0, EOVERFLOW wrapping, ENOENT for a hole, EPERM for writes to a read-only import,
   *   else EINVAL.
   */
  pinPages(iova: Iova, length: bigint, options: { readonly write: boolean }): never {
    return this.#refuse(iova, length, options.write, "iommufd.access.pinPages");
  }

  /** `iommufd_access_rw`. @throws DmaBufError always, as {@link pinPages}. */
  rw(iova: Iova, bytes: Uint8Array, options: { readonly write: boolean }): never {
    return this.#refuse(iova, BigInt(bytes.length), options.write, "iommufd.access.rw");
  }

  /** Ends the access; closing twice is harmless. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#onClose(this);
  }

  [dispose](): void {
    this.close();
  }

  #refuse(iova: Iova, length: bigint, write: boolean, syscall: string): never {
    if (!this.#open) throw new DmaBufError("EBADF", syscall, `access ${this.id} is closed`);
    if (length === 0n) throw new DmaBufError("EINVAL", syscall, "a length of 0 bytes");
    if (iova < 0n || iova + length > ADDRESS_LIMIT) {
      throw new DmaBufError("EOVERFLOW", syscall, `${hex(iova)} + ${hex(length)} leaves 64 bits`);
    }
    // The kernel goes from area to area: what lies behind the first is not looked at.
    const [first] = this.#areas.contiguous(iova, 1n, syscall, RULE);
    if (write && first?.area.pages.writable === false) {
      throw new DmaBufError("EPERM", syscall, "the import is read-only", { rule: RULE });
    }
    throw new DmaBufError("EINVAL", syscall, REFUSED, {
      hint: "let a device do the access, or mmap the BAR through vfio-pci",
      rule: RULE,
    });
  }
}
