import { DmaBufError, hex, type PhysAddr } from "@peerbar/core";
import type { Fabric } from "./fabric/fabric.js";

/**
 * The processor's loads and stores by physical address: host memory, and BARs down the host bridges. What would be a bus error, or the
 * SIGBUS of a mapping that vfio-pci zapped, throws (vfio-pci-dmabuf R31).
 */
export class Cpu {
  readonly #fabric: Fabric;

  /** @internal Made by `Machine`. */
  constructor(fabric: Fabric) {
    this.#fabric = fabric;
  }

  /** @throws DmaBufError EFAULT at the first byte that nobody answers to; bytes before it were read. */
  read(address: PhysAddr, into: Uint8Array): void {
    this.#walk("cpu.read", address, into.length, (done, length) => {
      const { hit } = this.#fabric;
      hit.memory?.read(hit.offset, into, done, length);
    });
  }

  /** @throws DmaBufError EFAULT at the first byte that nobody answers to; bytes before it were written. */
  write(address: PhysAddr, bytes: Uint8Array): void {
    this.#walk("cpu.write", address, bytes.length, (done, length) => {
      const { memory, offset, bar } = this.#fabric.hit;
      memory?.write(offset, bytes, done, length);
      bar?.onWrite?.(offset, length);
    });
  }

  #walk(
    operation: string,
    address: PhysAddr,
    total: number,
    move: (done: number, length: number) => void,
  ): void {
    for (let done = 0; done < total; ) {
      const at = address + BigInt(done);
      if (!this.#fabric.cpuAccess(Number(at >> 12n), Number(at & 0xfffn), total - done)) {
        throw new DmaBufError("EFAULT", operation, `nobody answers at ${hex(at)}`, {
          hint: "a BAR answers only in D0 with memory decode on, here and in every bridge above",
          rule: "vfio-pci-dmabuf R31",
        });
      }
      const { length } = this.#fabric.hit;
      move(done, length);
      done += length;
    }
  }
}
