import {
  DmaBufError,
  defaultScheduler,
  type EventSink,
  Lock,
  type LockGuard,
  type PciFunction,
  type Scheduler,
  type WaitOptions,
} from "@peerbar/core";
import type { CpuMemory } from "./bar-view.js";
import { hotReset } from "./hot-reset.js";
import type { AllocationSite, IovaStrategy } from "./iova-policy.js";
import { givenUp } from "./memory-gate.js";
import type { P2pDecision } from "./p2p-decision.js";
import { VfioPciDevice } from "./vfio-pci-device.js";

/** Who decides, who waits, and which of the kernel's defects are kept. */
export interface VfioPciOptions {
  /** Who decides whether, and how, a client reaches a BAR: `P2pdma` of `@peerbar/p2pdma`. */
  readonly p2pdma: P2pDecision;
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
  /** When mappings take IOVA space, for buffers that do not say; "mapping" as in Linux 7.2 where absent. */
  readonly iovaStrategy?: IovaStrategy | undefined;
  /** The simulated machine's processor, for {@link VfioPciDevice.mmap}. */
  readonly cpu?: CpuMemory | undefined;
  /** Reproduces the live defects of that kernel (vfio-pci-dmabuf R26, R36 to R39, known-bugs B14) instead of doing right. */
  readonly quirks?: "linux-7.2" | undefined;
  /** Failure injection, as the kernel's failslab: called before each allocation that may fail; throw ENOMEM to make it fail. */
  readonly allocate?: ((site: AllocationSite) => void) | undefined;
}

export interface HotResetOptions extends WaitOptions {
  /** Resets the bus or slot as a whole; each function by itself where absent. */
  readonly resetBus?: (() => Promise<void>) | undefined;
}

/** How one function is opened. */
export interface OpenOptions {
  /** BARs that another driver has claimed: exports of them fail with ENODEV (vfio-pci-dmabuf V12, known-bugs B7). */
  readonly unclaimedBars?: readonly number[] | undefined;
  /** No BAR of this function may be mapped, as with s390 ISM (vfio-pci-dmabuf V12, V18). */
  readonly nonMappableBars?: boolean | undefined;
  /**
   * False: the PCI core found no way to reset this function when vfio opened it (no VFIO_DEVICE_FLAGS_RESET). Then
   * {@link VfioPciDevice.reset} fails with EINVAL and revokes nothing. True unless given.
   */
  readonly resettable?: boolean | undefined;
}

/** The vfio-pci driver on a simulated machine: opens functions for sharing their BARs. */
export class VfioPci {
  readonly #options: VfioPciOptions;
  readonly #scheduler: Scheduler;
  readonly #open = new Map<string, VfioPciDevice>();
  /** By bus: what opening, closing and hot resets hold (`dev_set->lock`). Lock order: it, then memory locks. */
  readonly #sets = new Map<string, Lock>();

  /** @param options - its `p2pdma` says which device reaches which BAR, asked anew at each attach and map */
  constructor(options: VfioPciOptions) {
    this.#options = options;
    this.#scheduler = options.scheduler ?? defaultScheduler;
  }

  /** Devices open now. */
  get devices(): Iterable<VfioPciDevice> {
    return this.#open.values();
  }

  /**
   * Opens a function: wakes it to D0 and turns memory decode on. The caller closes the device. Buffers of an earlier open stay dead
   * (vfio-pci-dmabuf R29). Waits while a function of the bus is being closed, or the bus is being reset.
   *
   * @throws DmaBufError EBUSY while it is open; EINTR, ETIMEDOUT.
   */
  async open(
    fn: PciFunction,
    options: OpenOptions = {},
    wait?: WaitOptions,
  ): Promise<VfioPciDevice> {
    const guard = await this.#lockSet(fn, wait);
    try {
      return this.#openNow(fn, options);
    } finally {
      guard.release();
    }
  }

  /**
   * `VFIO_DEVICE_PCI_HOT_RESET`: resets all functions of a bus together. The caller names every open device there, which proves that it
   * owns them.
   *
   * @throws DmaBufError EINVAL where the list is empty, spans buses, or leaves out an open device of the bus; EBUSY while one of them is
   *   being reset or written, with everything unwound; EBADF; what the reset threw; EINTR, ETIMEDOUT.
   */
  async hotReset(owned: readonly VfioPciDevice[], options: HotResetOptions = {}): Promise<void> {
    for (const device of owned) device.assertOpen(HOT_RESET);
    const [first] = owned;
    if (first === undefined) throw notOwned("no device was named");
    // Nobody of the bus is opened or closed meanwhile: who is in the set is asked under the lock.
    const guard = await this.#lockSet(first.device, options).catch((error: unknown) => {
      throw givenUp(HOT_RESET, error, [first.gate]);
    });
    try {
      const set = this.#resetSet(first, owned);
      const gates = set.map((device) => device.gate);
      const each = async (): Promise<void> => {
        for (const { fn } of gates) await fn.reset();
      };
      await hotReset(gates, options.resetBus ?? each, options);
    } finally {
      guard.release();
    }
  }

  async #lockSet(fn: PciFunction, options: WaitOptions | undefined): Promise<LockGuard> {
    const bus = busOf(fn);
    let lock = this.#sets.get(bus);
    if (lock === undefined) {
      lock = new Lock(`${bus} dev_set`, this.#scheduler, "dev_set->lock");
      this.#sets.set(bus, lock);
    }
    return lock.tryLock() ?? (await lock.lock(options));
  }

  #openNow(fn: PciFunction, options: OpenOptions): VfioPciDevice {
    if (this.#open.has(fn.pciAddress)) {
      throw new DmaBufError("EBUSY", "vfio.open", `${fn.pciAddress} is open already`, {
        hint: "close it first, or use the device that is open",
      });
    }
    const { p2pdma, events, cpu, iovaStrategy, quirks, allocate } = this.#options;
    const device = new VfioPciDevice(fn, {
      p2pdma,
      scheduler: this.#scheduler,
      events,
      cpu,
      iovaStrategy: iovaStrategy ?? "mapping",
      quirks,
      allocate,
      unclaimed: new Set(options.unclaimedBars),
      nonMappable: options.nonMappableBars ?? false,
      resettable: options.resettable ?? true,
      lockSet: (wait) => this.#lockSet(fn, wait),
      onClosed: (closed) => {
        this.#open.delete(closed.device.pciAddress);
      },
    });
    this.#open.set(fn.pciAddress, device);
    return device;
  }

  #resetSet(first: VfioPciDevice, owned: readonly VfioPciDevice[]): readonly VfioPciDevice[] {
    for (const device of owned) device.assertOpen(HOT_RESET);
    const bus = busOf(first.device);
    const stranger = owned.find(({ device }) => busOf(device) !== bus);
    if (stranger !== undefined) {
      throw notOwned(`${stranger.device.pciAddress} is not on bus ${bus}`);
    }
    const set = [...this.#open.values()].filter(({ device }) => busOf(device) === bus);
    const missing = set.find((device) => !owned.includes(device));
    if (missing !== undefined) {
      throw notOwned(`${missing.device.pciAddress} is open, on the same bus, and not in the list`);
    }
    return set;
  }
}

const HOT_RESET = "vfio.hotReset";

function busOf({ pciAddress }: PciFunction): string {
  return pciAddress.slice(0, pciAddress.lastIndexOf(":"));
}

function notOwned(reason: string): DmaBufError {
  return new DmaBufError("EINVAL", HOT_RESET, reason, {
    hint: "name every open device of one bus: all of them are reset",
  });
}
