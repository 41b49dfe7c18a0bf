import { type DescriptorSource, PhysicalMemory } from "@peerbar/conformance/reference";
import { PAGE_BYTES, type PhysRange, physAddr } from "@peerbar/core";
import { close } from "@peerbar/linux";
import { markKernelRevoked } from "../src/buffers/kernel-revoked.js";
import type { NativeFunction, NativeVfioDevice } from "../src/index.js";
import { exportBar } from "../src/vfio/dma-buf-feature.js";

const BAR = 2;

/** BAR 2 of an `ivshmem` as the memory that the importer suite shares: real pages, real dma-bufs of them. */
export class BarMemory extends PhysicalMemory {
  override readonly descriptors: DescriptorSource;
  readonly #device: NativeVfioDevice;
  readonly #base: bigint;
  readonly #length: bigint;
  #next = 0n;

  constructor(fn: NativeFunction, device: NativeVfioDevice) {
    super();
    const bar = fn.bars[BAR];
    if (bar === undefined) throw new Error(`${fn.name} has no BAR ${String(BAR)}`);
    this.#device = device;
    this.#base = bar.start;
    this.#length = bar.length;
    this.descriptors = descriptorsOf(device, bar.start);
  }

  /** Zeroed pages with one left out behind them; begins again at the start where the BAR is used up. */
  override allocate(length: bigint): PhysRange {
    const whole = (length + PAGE_BYTES - 1n) & ~(PAGE_BYTES - 1n);
    if (this.#next + whole > this.#length) this.#next = 0n;
    const at = this.#next;
    this.#next += whole + PAGE_BYTES;
    this.#device.writeBar(BAR, at, new Uint8Array(Number(whole)));
    return { start: physAddr(this.#base + at), length };
  }

  override read(address: bigint, into: Uint8Array): number {
    this.#device.readBar(BAR, address - this.#base, into);
    return into.length;
  }

  override write(address: bigint, bytes: Uint8Array): number {
    this.#device.writeBar(BAR, address - this.#base, bytes);
    return bytes.length;
  }
}

function descriptorsOf(device: NativeVfioDevice, base: bigint): DescriptorSource {
  const unmark = new Map<number, () => void>();
  return {
    open(ranges) {
      const slices = ranges.map(({ start, length }) => ({ offset: start - base, length }));
      const fd = exportBar(device.fd, { bar: BAR, ranges: slices });
      unmark.set(fd, markKernelRevoked(fd));
      return fd;
    },
    close(fd) {
      unmark.get(fd)?.();
      close(fd);
    },
    setRevoked(_fd, revoked) {
      if (!revoked) return;
      // Memory off is what revokes; on again at once, for the suite reads the bytes meanwhile. Mappings made before stay dead (iommufd R15).
      const command = device.readConfig(4, 2);
      device.writeConfigNow(4, 2, command & ~2);
      device.writeConfigNow(4, 2, command | 2);
    },
  };
}
