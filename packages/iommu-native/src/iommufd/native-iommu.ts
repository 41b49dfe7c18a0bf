import type { AddressSpace, IommuBackend } from "@peerbar/core";
import { everyStep } from "../every-step.js";
import { IommufdFile } from "./iommufd-file.js";
import { NativeAddressSpace } from "./native-address-space.js";

/** The running kernel's IOMMU through one /dev/iommu. What importers need; devices join through the host that shares the file. */
export class NativeIommu implements IommuBackend, Disposable {
  readonly name = "linux";
  readonly accepts = ["fd"] as const;
  readonly file: IommufdFile;
  readonly #spaces = new Set<NativeAddressSpace>();

  /** Opens /dev/iommu; ended by {@link close}. @throws DmaBufError ENOENT without iommufd; EACCES. */
  constructor() {
    this.file = new IommufdFile();
  }

  /** `IOMMU_IOAS_ALLOC`. */
  allocAddressSpace(): AddressSpace {
    const space = new NativeAddressSpace(this.file, (ended) => {
      this.#spaces.delete(ended);
    });
    this.#spaces.add(space);
    return space;
  }

  /** Address spaces not yet disposed. */
  get live(): number {
    return this.#spaces.size;
  }

  /** Ends every address space, then the file, whatever fails on the way; the first failure is thrown at the end. Twice is harmless. */
  close(): void {
    const spaces = [...this.#spaces].map((space) => () => {
      space[Symbol.dispose]();
    });
    everyStep([
      ...spaces,
      // The kernel ends with the file what could not be ended by itself.
      () => {
        this.#spaces.clear();
        this.file.close();
      },
    ]);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
