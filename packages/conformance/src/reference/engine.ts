import {
  type DmaAddr,
  type DmaCompletion,
  type DmaEngine,
  fromPfn,
  type IommuPort,
  PAGE_BYTES,
  PAGE_SIZE,
  toPfn,
} from "@peerbar/core";
import type { PhysicalMemory } from "./physical-memory.js";

/**
 * A device's DMA engine in front of plain memory: through an IOMMU port where one is given, else straight to the address.
 * No fabric and no time: for proving software, not for timing hardware.
 */
export class MemoryEngine implements DmaEngine {
  readonly #memory: PhysicalMemory;
  readonly #port: IommuPort | undefined;
  readonly #out = { pfn: 0 };

  /** @param port - translates every access; without it addresses are physical */
  constructor(memory: PhysicalMemory, port?: IommuPort) {
    this.#memory = memory;
    this.#port = port;
  }

  write(address: DmaAddr, bytes: Uint8Array): Promise<DmaCompletion> {
    return Promise.resolve(
      this.#transfer(address, bytes.length, true, (at, from, to) =>
        this.#memory.write(at, bytes.subarray(from, to)),
      ),
    );
  }

  read(address: DmaAddr, into: Uint8Array): Promise<DmaCompletion> {
    return Promise.resolve(
      this.#transfer(address, into.length, false, (at, from, to) =>
        this.#memory.read(at, into.subarray(from, to)),
      ),
    );
  }

  #transfer(
    address: DmaAddr,
    length: number,
    write: boolean,
    move: (at: bigint, from: number, to: number) => number,
  ): DmaCompletion {
    let done = 0;
    while (done < length) {
      const now = (address + BigInt(done)) as DmaAddr;
      const within = Number(now & (PAGE_BYTES - 1n));
      const count = Math.min(PAGE_SIZE - within, length - done);
      const target = this.#target(now, write);
      if (target === undefined) return { status: "iommu-fault", transferred: done, at: now };
      const moved = move(target + BigInt(within), done, done + count);
      done += moved;
      if (moved < count) return { status: "unsupported-request", transferred: done, at: now };
    }
    return { status: "ok", transferred: done, at: undefined };
  }

  /** Physical address of the page, or undefined where the IOMMU blocks. */
  #target(address: DmaAddr, write: boolean): bigint | undefined {
    const pfn = toPfn(address);
    if (this.#port === undefined) return fromPfn(pfn);
    return this.#port.translate(pfn, 1, write, this.#out) > 0 ? fromPfn(this.#out.pfn) : undefined;
  }
}
