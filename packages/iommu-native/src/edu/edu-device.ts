import {
  type AddressSpace,
  type DmaAddr,
  DmaBufError,
  type DmaCompletion,
  type DmaEngine,
  dispose,
  type Iova,
  iova,
} from "@peerbar/core";
import { close, type Mapping, memfdCreate, mmap } from "@peerbar/linux";
import type { FaultLog } from "../host/fault-log.js";
import type { NativeFunction } from "../host/native-function.js";
import type { NativeVfioDevice } from "../vfio/native-vfio-device.js";

/** Registers of BAR 0 (QEMU, docs/specs/edu.rst). */
const registers = { id: 0x00, source: 0x80, target: 0x88, count: 0x90, command: 0x98 } as const;
const COMMAND_START = 1;
const COMMAND_FROM_DEVICE = 2;
/** The device's own buffer, as its DMA engine addresses it. */
const BUFFER = 0x40000n;
const BUFFER_BYTES = 4096;
/** Most of one transfer: QEMU 7.2 takes one that ends at the buffer's end for one that ends behind it, and aborts. */
const PIECE_BYTES = 2048;
/** Reads of the command register after which a transfer counts as hung: each is a turn of the event loop. */
const PATIENCE = 2_000_000;

/** How the driver works. */
export interface EduOptions {
  /** IOVA of the staging page in the address space; below 256 MiB where the device was made without a wider `dma_mask`. */
  readonly staging?: Iova | undefined;
  /** Tells a fault from a page of zeros. */
  readonly faults?: FaultLog | undefined;
}

/**
 * QEMU's `edu` as a DMA engine. Its buffer of 4 KiB can be filled and emptied by DMA alone, so bytes go through a page of ordinary memory
 * that is mapped into the address space beside what is tested.
 */
export class EduDevice implements DmaEngine, Disposable {
  readonly #device: NativeVfioDevice;
  readonly #space: AddressSpace;
  readonly #staging: Iova;
  readonly #options: EduOptions;
  readonly #page: Mapping;
  readonly #view: Uint8Array;
  #busy: Promise<unknown> = Promise.resolve();
  #open = true;

  /**
   * @param device - `edu`, opened; bus mastering is switched on.
   * @param space - where the function is attached.
   * @throws DmaBufError ENODEV where the device is no `edu`; what mapping the staging page throws.
   */
  constructor(device: NativeVfioDevice, space: AddressSpace, options: EduOptions = {}) {
    this.#device = device;
    this.#space = space;
    this.#options = options;
    this.#staging = options.staging ?? iova(0x7000_0000n);
    const id = this.#read32(registers.id);
    if ((id & 0xff) !== 0xed) {
      throw new DmaBufError(
        "ENODEV",
        "edu",
        `${device.device.pciAddress} answers 0x${id.toString(16)}`,
        {
          hint: "QEMU: -device edu,dma_mask=0xffffffffffff",
        },
      );
    }
    device.setMaster(true);
    this.#page = stagingPage(space, this.#staging);
    this.#view = new Uint8Array(this.#page.buffer);
  }

  /** Makes it the engine of its function, as on the simulated machine. */
  drive(fn: NativeFunction): this {
    fn.engine = this;
    return this;
  }

  /**
   * Writes `bytes`, 2 KiB at a time. The device does not see faults: what it cannot reach is found by reading back.
   *
   * @returns "iommu-fault" at the first piece that did not arrive.
   */
  write(address: DmaAddr, bytes: Uint8Array): Promise<DmaCompletion> {
    return this.#alone(async () => {
      for (let done = 0; done < bytes.length; done += PIECE_BYTES) {
        const piece = bytes.subarray(done, done + PIECE_BYTES);
        const at = address + BigInt(done);
        await this.#load(piece);
        await this.#dma(BUFFER, at, piece.length, COMMAND_FROM_DEVICE);
        if (!(await this.#holds(at, piece))) return faulted(at, done);
      }
      return { status: "ok", transferred: bytes.length, at: undefined };
    });
  }

  /** Reads into `into`, 2 KiB at a time. @returns "iommu-fault" at the first piece that did not come. */
  read(address: DmaAddr, into: Uint8Array): Promise<DmaCompletion> {
    return this.#alone(async () => {
      for (let done = 0; done < into.length; done += PIECE_BYTES) {
        const piece = into.subarray(done, done + PIECE_BYTES);
        const at = address + BigInt(done);
        if (!(await this.#fetch(at, piece))) return faulted(at, done);
      }
      return { status: "ok", transferred: into.length, at: undefined };
    });
  }

  /** Unmaps the staging page; the device stays open. Twice is harmless. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    try {
      this.#space.unmap(this.#staging, BigInt(BUFFER_BYTES));
    } finally {
      this.#page.unmap();
    }
  }

  [dispose](): void {
    this.close();
  }

  /** One transfer at a time: the device has one set of registers. */
  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#busy;
    const run = before.then(work, work);
    this.#busy = run.catch(() => undefined);
    return run;
  }

  /** Staging page to the device's buffer. */
  async #load(bytes: Uint8Array): Promise<void> {
    this.#view.set(bytes);
    await this.#dma(this.#staging, BUFFER, bytes.length, 0);
  }

  /** The device's buffer to the staging page. */
  async #unload(length: number): Promise<void> {
    this.#view.fill(0, 0, length);
    await this.#dma(BUFFER, this.#staging, length, COMMAND_FROM_DEVICE);
  }

  /** True where a read of `at` gives `bytes`. */
  async #holds(at: bigint, bytes: Uint8Array): Promise<boolean> {
    const found = new Uint8Array(bytes.length);
    return (await this.#fetch(at, found)) && found.every((byte, i) => byte === bytes[i]);
  }

  /**
   * `at` into `into`. A read that faults gives zeros: where all bytes are zero the kernel's log decides, and without one they are taken
   * for data.
   */
  async #fetch(at: bigint, into: Uint8Array): Promise<boolean> {
    this.#options.faults?.take();
    await this.#dma(at, BUFFER, into.length, 0);
    await this.#unload(into.length);
    into.set(this.#view.subarray(0, into.length));
    if (into.some((byte) => byte !== 0)) return true;
    const { pciAddress } = this.#device.device;
    return this.#options.faults?.take().every(({ device }) => device !== pciAddress) ?? true;
  }

  async #dma(source: bigint, target: bigint, count: number, direction: number): Promise<void> {
    this.#write64(registers.source, source);
    this.#write64(registers.target, target);
    this.#write64(registers.count, BigInt(count));
    this.#write64(registers.command, BigInt(COMMAND_START | direction));
    for (let turn = 0; turn < PATIENCE; turn++) {
      if ((this.#read32(registers.command) & COMMAND_START) === 0) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
    throw new DmaBufError("ETIMEDOUT", "edu", "the transfer never ended");
  }

  #read32(register: number): number {
    const bytes = new Uint8Array(4);
    this.#device.readBar(0, BigInt(register), bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  #write64(register: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.#device.writeBar(0, BigInt(register), bytes);
  }
}

/** A page of ordinary memory, mapped here and at `at` for the device: both mappings keep it, so its descriptor goes at once. */
function stagingPage(space: AddressSpace, at: Iova): Mapping {
  const memory = memfdCreate("peerbar-edu", BUFFER_BYTES);
  try {
    const page = mmap(memory, { length: BUFFER_BYTES });
    try {
      const slice = { offset: 0n, length: BigInt(BUFFER_BYTES) };
      space.map("fd", memory, { slice, iova: at, access: "rw" });
      return page;
    } catch (error) {
      page.unmap();
      throw error;
    }
  } finally {
    close(memory);
  }
}

function faulted(at: bigint, transferred: number): DmaCompletion {
  return { status: "iommu-fault", transferred, at: iova(at) };
}
