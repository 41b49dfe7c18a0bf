import { dispose } from "@peerbar/core";
import { type MapOptions, type Mapping, mmap } from "@peerbar/linux";

/** Windows of BARs in this process, until they are unmapped: by whoever asked for them, or all at once before memory goes away. */
export class BarWindows {
  readonly #live = new Set<Mapping>();

  /** Windows not yet unmapped. */
  get size(): number {
    return this.#live.size;
  }

  /** mmap(2) of the device's file. @throws DmaBufError with the errno of mmap. */
  open(fd: number, options: MapOptions): Mapping {
    const mapping = mmap(fd, options);
    this.#live.add(mapping);
    const { buffer, length, address } = mapping;
    const unmap = (): void => {
      mapping.unmap();
      this.#live.delete(mapping);
    };
    return { buffer, length, address, unmap, [dispose]: unmap };
  }

  /** Ends every window: an access behind memory that is off would kill the process (vfio-pci-dmabuf R31). */
  unmapAll(): void {
    for (const mapping of this.#live) mapping.unmap();
    this.#live.clear();
  }
}
