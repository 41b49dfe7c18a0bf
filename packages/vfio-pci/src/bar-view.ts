import {
  DmaBufError,
  dispose,
  hex,
  isPageAligned,
  type Lock,
  PAGE_BYTES,
  type PciBar,
  type PhysAddr,
  physAddr,
  type Slice,
  type WaitOptions,
} from "@peerbar/core";
import type { BarTable } from "./bar-ranges.js";
import type { MemoryState } from "./memory-state.js";

/** The processor's loads and stores by physical address: the simulated machine's CPU. */
export interface CpuMemory {
  /** Loads `into.length` bytes. @throws DmaBufError EFAULT where nobody answers. */
  read(address: PhysAddr, into: Uint8Array): void;
  /** Stores the bytes. @throws DmaBufError EFAULT where nobody answers. */
  write(address: PhysAddr, bytes: Uint8Array): void;
}

/** @internal All views of one device. */
export class BarViews {
  readonly #live = new Set<BarView>();
  readonly #lock: Lock;
  readonly #memory: MemoryState;
  readonly #cpu: CpuMemory | undefined;

  constructor(lock: Lock, memory: MemoryState, cpu: CpuMemory | undefined) {
    this.#lock = lock;
    this.#memory = memory;
    this.#cpu = cpu;
  }

  get size(): number {
    return this.#live.size;
  }

  open(table: BarTable, index: number, slice: Slice | undefined): BarView {
    const bar = mappableBar(table, index);
    const window = slice ?? { offset: 0n, length: roundUp(bar.length) };
    checkWindow(bar, window);
    if (this.#cpu === undefined) {
      throw new DmaBufError("EOPNOTSUPP", MMAP, "this machine lends no CPU", {
        hint: "give `cpu` to VfioPci: `machine.cpu`",
      });
    }
    const view = new BarView(bar, window, this.#cpu, {
      fault: (view, options) => this.#fault(view, options),
      gone: (closed) => this.#live.delete(closed),
    });
    this.#live.add(view);
    return view;
  }

  /** Takes down every mapping: the next access of each faults. Returns how many there were. */
  zap(): number {
    let zapped = 0;
    for (const view of this.#live) if (view.zap()) zapped += 1;
    return zapped;
  }

  close(): void {
    for (const view of this.#live) view.unmap();
  }

  /** `vfio_pci_mmap_fault`: waits for the memory lock, then tests low power and decoding (vfio-pci-dmabuf R26, R31). */
  async #fault(view: BarView, options: WaitOptions | undefined): Promise<void> {
    const guard = this.#lock.tryLock() ?? (await this.#lock.lock(options));
    const memory = this.#memory;
    try {
      // Under the lock: a zap right after it finds the page and takes it down again.
      if (memory.decodes && !memory.lowPower) {
        view.populate();
        return;
      }
      const why = memory.lowPower ? "low power is engaged" : "memory does not decode";
      throw new DmaBufError("EFAULT", "vfio.access", `SIGBUS: ${why}`, {
        hint: "turn memory on, leave low power or wake the function to D0, then access again",
        rule: "vfio-pci-dmabuf R31",
      });
    } finally {
      guard.release();
    }
  }
}

interface ViewOwner {
  fault(view: BarView, options: WaitOptions | undefined): Promise<void>;
  gone(view: BarView): void;
}

/**
 * A BAR in a process: `mmap` of the device file. Independent of all buffers, taken down by the same triggers (vfio-pci-dmabuf R31). The
 * first access after that faults, which brings it back where memory decodes again (R32), and is SIGBUS, here EFAULT, where it does not.
 */
export class BarView implements Disposable {
  readonly bar: PciBar;
  /** What of the BAR is seen, in bytes. */
  readonly window: Slice;
  readonly #cpu: CpuMemory;
  readonly #owner: ViewOwner;
  #present = false;
  #mapped = true;
  #faults = 0;

  /** @internal */
  constructor(bar: PciBar, window: Slice, cpu: CpuMemory, owner: ViewOwner) {
    this.bar = bar;
    this.window = window;
    this.#cpu = cpu;
    this.#owner = owner;
  }

  /** True where an access needs no fault: between a first access and the next zap. */
  get present(): boolean {
    return this.#present;
  }

  /** Faults served so far. */
  get faults(): number {
    return this.#faults;
  }

  /**
   * Loads bytes from `offset` of the window.
   *
   * @throws DmaBufError EFAULT (SIGBUS) while memory does not decode or low power is engaged; EINVAL outside the window; EBADF after unmap;
   *   EINTR, ETIMEDOUT while a fault waits for a reset in progress.
   */
  async read(offset: bigint, into: Uint8Array, options?: WaitOptions): Promise<void> {
    const at = await this.#address("vfio.read", offset, into.length, options);
    this.#cpu.read(at, into);
  }

  /** Stores bytes at `offset` of the window. Throws as {@link read}. */
  async write(offset: bigint, bytes: Uint8Array, options?: WaitOptions): Promise<void> {
    const at = await this.#address("vfio.write", offset, bytes.length, options);
    this.#cpu.write(at, bytes);
  }

  /** Ends the view; doing so twice is harmless. */
  unmap(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    this.#present = false;
    this.#owner.gone(this);
  }

  [dispose](): void {
    this.unmap();
  }

  /** @internal A fault was served. */
  populate(): void {
    if (!this.#mapped) return;
    this.#faults += 1;
    this.#present = true;
  }

  /** @internal True where there was something to take down. */
  zap(): boolean {
    const was = this.#present;
    this.#present = false;
    return was;
  }

  async #address(
    syscall: string,
    offset: bigint,
    length: number,
    options: WaitOptions | undefined,
  ): Promise<PhysAddr> {
    this.#check(syscall, offset, length);
    // A zap may come between the fault and the access: the processor then faults again.
    while (!this.#present) {
      await this.#owner.fault(this, options);
      this.#check(syscall, offset, length);
    }
    return physAddr(this.bar.start + this.window.offset + offset);
  }

  #check(syscall: string, offset: bigint, length: number): void {
    if (!this.#mapped) {
      throw new DmaBufError("EBADF", syscall, "the view was unmapped, or its device closed");
    }
    if (offset >= 0n && offset + BigInt(length) <= this.window.length) return;
    throw new DmaBufError(
      "EINVAL",
      syscall,
      `${hex(offset)}+${hex(length)} bytes are not in a window of ${hex(this.window.length)}`,
    );
  }
}

const MMAP = "vfio.mmap";

function mappableBar(table: BarTable, index: number): PciBar {
  const bar = table.bars[index];
  if (bar?.kind !== "memory" || bar.length === 0n || table.nonMappable) {
    throw refuse("EINVAL", `BAR ${String(index)} cannot be mapped`);
  }
  if (table.unclaimed.has(index)) {
    throw refuse("EBUSY", `BAR ${String(index)} is claimed by another driver`);
  }
  return bar;
}

/** Bounds are those of the BAR rounded up to a page: a short BAR may be mapped though it cannot be exported (vfio-pci-dmabuf R4). */
function checkWindow(bar: PciBar, { offset, length }: Slice): void {
  const whole = offset >= 0n && length > 0n && isPageAligned(offset) && isPageAligned(length);
  if (whole && offset + length <= roundUp(bar.length)) return;
  throw refuse(
    "EINVAL",
    `${hex(offset)}+${hex(length)} bytes are not whole pages of BAR ${String(bar.index)}, ${hex(bar.length)} bytes`,
  );
}

function roundUp(length: bigint): bigint {
  return (length + PAGE_BYTES - 1n) & ~(PAGE_BYTES - 1n);
}

function refuse(code: "EINVAL" | "EBUSY", reason: string): DmaBufError {
  return new DmaBufError(code, MMAP, reason, { rule: "vfio-pci-dmabuf R31" });
}
