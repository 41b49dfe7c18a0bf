import {
  asyncDispose,
  type BarExporter,
  DmaBuf,
  DmaBufError,
  type EventSink,
  type ExportRequest,
  type LockGuard,
  type ObjectWatch,
  type PciBar,
  type PciFunction,
  type Scheduler,
  type Slice,
  type WaitOptions,
} from "@peerbar/core";
import { BarProvider } from "./attach-kind.js";
import { AttachmentIova } from "./attachment-iova.js";
import { BarBuffer } from "./bar-buffer.js";
import {
  type BarTable,
  checkCount,
  checkListSize,
  checkMemoryBar,
  claimedBar,
  EXPORT,
  placeRanges,
  sumRanges,
} from "./bar-ranges.js";
import { type BarView, BarViews, type CpuMemory } from "./bar-view.js";
import { BufferList, type Draining } from "./buffer-list.js";
import { findCapabilities } from "./capabilities.js";
import type { AllocationSite, BarSource, IovaPolicy, IovaStrategy } from "./iova-policy.js";
import { LinuxIova } from "./linux-iova.js";
import { LowPower } from "./low-power.js";
import { MappingIova } from "./mapping-iova.js";
import { closedDevice, givenUp, MemoryGate } from "./memory-gate.js";
import { MemoryState } from "./memory-state.js";
import type { P2pDecision } from "./p2p-decision.js";
import { Registration } from "./registration.js";
import { VirtualConfig } from "./virtual-config.js";

/** @internal What {@link VfioPci} hands to each device it opens. */
export interface DeviceSetup {
  readonly p2pdma: P2pDecision;
  readonly scheduler: Scheduler;
  readonly events: EventSink | undefined;
  readonly cpu: CpuMemory | undefined;
  readonly iovaStrategy: IovaStrategy;
  readonly quirks: "linux-7.2" | undefined;
  readonly allocate: ((site: AllocationSite) => void) | undefined;
  readonly unclaimed: ReadonlySet<number>;
  readonly nonMappable: boolean;
  readonly resettable: boolean;
  /** Takes the lock of the set of functions that are reset together. */
  lockSet(options: WaitOptions | undefined): Promise<LockGuard>;
  onClosed(device: VfioPciDevice): void;
}

/** What to export, and how its mappings take IOVA space. */
export interface BarExportRequest extends ExportRequest {
  /** The strategy of this buffer; that of the `VfioPci` where absent. Without effect under `quirks`. */
  readonly iovaStrategy?: IovaStrategy | undefined;
}

/** @internal The same request while its list of ranges is not read yet: the kernel checks the BAR before it does. */
export interface RegionRequest {
  readonly bar: number;
  readonly count: number;
  ranges(): readonly Slice[];
  readonly name: string | undefined;
  /** Open flags of the buffer's file. */
  readonly flags: number;
  readonly iovaStrategy: IovaStrategy | undefined;
}

/**
 * One PCI function opened through vfio-pci. Exports ranges of its BARs and takes them back whenever memory stops decoding: every trigger
 * of the kernel's table holds the memory lock, revokes, acts, and restores where memory is on afterwards.
 *
 * Nothing here has a time-out of its own: a revoke waits for importers, without bound (vfio-pci-dmabuf R21). {@link draining} shows for
 * whom, and every waiting call takes an `AbortSignal`. A call given up that way throws EINTR; buffers it had revoked stay revoked and are
 * listed in the message, and the next trigger goes on from there.
 */
export class VfioPciDevice implements BarExporter {
  readonly device: PciFunction;
  readonly #setup: DeviceSetup;
  readonly #bars: BarTable;
  readonly #registration: Registration;
  readonly #list: BufferList;
  readonly #gate: MemoryGate;
  readonly #config: VirtualConfig;
  readonly #lowPower: LowPower;
  readonly #providers: (BarProvider | undefined)[] = [];
  /** Whether it is open is asked without the memory lock. */
  readonly #watch: ObjectWatch | undefined;
  #exported = 0;

  /** @internal Made by `VfioPci.open`. */
  constructor(fn: PciFunction, setup: DeviceSetup) {
    const { scheduler, events } = setup;
    const capabilities = findCapabilities(fn);
    const memory = new MemoryState(fn, capabilities, setup.quirks !== undefined);
    this.device = fn;
    this.#setup = setup;
    this.#bars = { bars: fn.bars, unclaimed: setup.unclaimed, nonMappable: setup.nonMappable };
    this.#registration = new Registration(fn.pciAddress, scheduler);
    this.#list = new BufferList(fn.pciAddress, scheduler, this.#registration);
    const views = new BarViews(this.#list.memoryLock, memory, setup.cpu);
    this.#gate = new MemoryGate(fn, memory, this.#list, views, events);
    this.#watch = scheduler.watch?.object(fn.pciAddress);
    this.#registration.get("vfio.open");
    memory.enable();
    this.#config = new VirtualConfig(capabilities, this.#gate);
    this.#lowPower = new LowPower(this.#gate);
  }

  /** True once closed; nothing can be done with the device any more. */
  get closed(): boolean {
    this.#watch?.touch(false);
    return this.#gate.phase === "closed";
  }

  /** Whether a buffer exported now could be mapped (vfio-pci-dmabuf R22). */
  get memoryEnabled(): boolean {
    this.#list.memoryLock.touch(false);
    this.#watch?.touch(false);
    return this.#gate.phase === "open" && this.#gate.state.enabled;
  }

  /** Revokes that wait for importers, with what they wait for. */
  get draining(): readonly Draining[] {
    return this.#list.draining;
  }

  /** Live buffers, revoked ones included. */
  get buffers(): number {
    return this.#list.size;
  }

  /** References that keep the device registered: the open file and each live buffer (vfio-pci-dmabuf R30). */
  get registrations(): number {
    return this.#registration.references;
  }

  /** @internal For the hot reset of a set. */
  get gate(): MemoryGate {
    return this.#gate;
  }

  /**
   * Shares pages of one BAR as a buffer. It is born revoked where memory does not decode (vfio-pci-dmabuf R6). The ranges may overlap,
   * repeat and come in any order (R3). The caller owns the buffer and closes it.
   *
   * @throws DmaBufError EINVAL, ENODEV, ENOMEM, EOVERFLOW by vfio-pci-dmabuf V11 to V22, the first that applies; EBADF after close; EINTR,
   *   ETIMEDOUT while waiting for a reset in progress. Nothing is left behind.
   */
  exportDmaBuf(request: BarExportRequest, options?: WaitOptions): Promise<DmaBuf> {
    const given: unknown = request.ranges;
    const ranges = Array.isArray(given) ? request.ranges : [];
    return this.exportRegion(
      {
        bar: request.bar,
        count: ranges.length,
        ranges: () => ranges,
        name: request.name,
        flags: 0,
        iovaStrategy: request.iovaStrategy,
      },
      options,
    );
  }

  /** @internal {@link exportDmaBuf} for a list that is read late. */
  async exportRegion(request: RegionRequest, options?: WaitOptions): Promise<DmaBuf> {
    this.assertOpen(EXPORT);
    const source = this.#source(request);
    this.#registration.get(EXPORT);
    let dmabuf: DmaBuf | undefined;
    try {
      const buffer = new BarBuffer(source, this.#policy(source, request.iovaStrategy));
      dmabuf = this.#dmabuf(buffer, request);
      const { memoryLock } = this.#list;
      const guard = memoryLock.tryLock() ?? (await memoryLock.lock(options));
      try {
        this.assertOpen(EXPORT);
        buffer.bind(dmabuf, this.#list, !this.#gate.state.enabled);
        this.#list.add(buffer);
      } finally {
        guard.release();
      }
      return dmabuf;
    } catch (error) {
      dmabuf?.close();
      this.#registration.put();
      throw error;
    }
  }

  /**
   * The BAR for the CPU of the simulated machine: `mmap` of the device file. A view of its own, independent of all buffers.
   *
   * @throws DmaBufError EINVAL for a BAR or window that cannot be mapped; EBUSY for a BAR of another driver; EOPNOTSUPP without a CPU.
   */
  mmap(bar: number, window?: Slice): BarView {
    this.assertOpen("vfio.mmap");
    return this.#gate.views.open(this.#bars, bar, window);
  }

  /** Config space as the user sees it: command bits and BAR registers are vfio's own. @throws DmaBufError EINVAL, EBADF. */
  readConfig(offset: number, size: 1 | 2 | 4): number {
    this.assertOpen("vfio.readConfig");
    return this.#config.read(offset, size);
  }

  /**
   * Writes config space. A command write at offset 4, a power state, and a function-level reset take the memory lock and move the buffers
   * (vfio-pci-dmabuf, triggers). A refused power change, or a failed reset, is not an error here, as in the kernel (R24).
   *
   * @throws DmaBufError EINVAL for an access outside config space; EBADF after close; EINTR, ETIMEDOUT as the options say.
   */
  async writeConfig(
    offset: number,
    size: 1 | 2 | 4,
    value: number,
    options?: WaitOptions,
  ): Promise<void> {
    this.assertOpen("vfio.writeConfig");
    await this.#config.write(offset, size, value, options);
  }

  /**
   * `VFIO_DEVICE_RESET`: revokes, drains, resets, and restores where memory is on afterwards, even when the reset itself failed.
   *
   * @throws DmaBufError EINVAL where the function has no reset, before anything is revoked; what the reset threw; EBADF after close; EINTR,
   *   ETIMEDOUT with the list of buffers that stay revoked.
   */
  async reset(options?: WaitOptions): Promise<void> {
    this.assertOpen("vfio.reset");
    if (!this.#setup.resettable) throw noReset(this.device);
    const gate = this.#gate;
    await gate.exclusive("vfio.reset", "device-reset", options, async () => {
      gate.zap();
      gate.setPower(0);
      await this.#list.move(true, options);
      await gate.reset(options);
    });
  }

  /**
   * Enters low power: revokes until {@link exitLowPower}. `onWakeUp` is told when the function wakes by itself (`..._WITH_WAKEUP`).
   *
   * @throws DmaBufError EINVAL where it is engaged already, after revoking all the same; EBADF; EINTR, ETIMEDOUT.
   */
  async enterLowPower(onWakeUp?: () => void, options?: WaitOptions): Promise<void> {
    this.assertOpen("vfio.enterLowPower");
    await this.#lowPower.enter(onWakeUp, options);
  }

  /** Leaves low power and restores where memory is on. @throws DmaBufError EBADF; EINTR, ETIMEDOUT. */
  async exitLowPower(options?: WaitOptions): Promise<void> {
    this.assertOpen("vfio.exitLowPower");
    await this.#lowPower.exit(options);
  }

  /**
   * The function signals a wake-up (PME) to its driver. Ends low power where a wake-up was asked for; buffers stay revoked until the next
   * trigger that restores (vfio-pci-dmabuf R25).
   */
  async wakeUp(options?: WaitOptions): Promise<void> {
    this.assertOpen("vfio.wakeUp");
    await this.#lowPower.wakeUp(options);
  }

  /**
   * Closes the device: revokes and drains every buffer for good, cuts them off, then disables the function (vfio-pci-dmabuf R28,
   * known-bugs B6). Buffers stay valid objects that can be looked at and closed. Closing twice is harmless: each call waits as long as its
   * own options say, and one that is given up leaves the work to the others.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT: the device is unusable by then, and closing again finishes the work.
   */
  async close(options?: WaitOptions): Promise<void> {
    this.#watch?.touch(true);
    const gate = this.#gate;
    if (gate.phase === "closed") return;
    gate.phase = "closing";
    gate.views.close();
    const guard = await this.#setup.lockSet(options).catch((error: unknown) => {
      throw givenUp("vfio.close", error, [gate]);
    });
    try {
      await gate.exclusive("vfio.close", "close", options, async () => {
        await this.#list.move(true, options);
        this.#list.orphan();
        gate.state.disable();
        this.#watch?.touch(true);
        gate.phase = "closed";
        this.#registration.put();
        this.#setup.onClosed(this);
      });
    } catch (error) {
      // Another close was faster.
      if (!this.closed) throw error;
    } finally {
      guard.release();
    }
  }

  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * Unbinds the driver: refuses new buffers with ENODEV (vfio-pci-dmabuf V21) and waits until the device is closed. Holders of buffers are
   * not waited for: closing drops their references (R30).
   */
  unregister(options?: WaitOptions): Promise<void> {
    return this.#registration.leave(options);
  }

  /** @internal @throws DmaBufError EBADF once closing has begun. */
  assertOpen(syscall: string): void {
    this.#watch?.touch(false);
    if (this.#gate.phase !== "open") throw closedDevice(syscall, this.device);
  }

  /** V11 to V20. */
  #source(request: RegionRequest): BarSource {
    checkCount(request.count);
    const bar = claimedBar(this.#bars, request.bar);
    checkListSize(request.count);
    const ranges = request.ranges();
    const size = sumRanges(ranges);
    const { allocate } = this.#setup;
    allocate?.("private");
    checkMemoryBar(bar);
    return {
      provider: this.#provider(bar),
      ranges: placeRanges(bar, ranges),
      size,
      allocate,
      bus: undefined,
    };
  }

  #provider(bar: PciBar): BarProvider {
    const known = this.#providers[bar.index];
    if (known !== undefined) return known;
    const offset = bar.busStart - bar.start;
    const provider = new BarProvider(this.#setup.p2pdma, this.device.pciAddress, offset);
    this.#providers[bar.index] = provider;
    return provider;
  }

  #policy(source: BarSource, strategy: IovaStrategy | undefined): IovaPolicy {
    const { quirks, iovaStrategy } = this.#setup;
    if (quirks !== undefined) return new LinuxIova(source);
    return (strategy ?? iovaStrategy) === "attachment"
      ? new AttachmentIova(source)
      : new MappingIova(source);
  }

  #dmabuf(buffer: BarBuffer, request: RegionRequest): DmaBuf {
    const { scheduler, events, allocate } = this.#setup;
    allocate?.("dma-buf");
    this.#exported += 1;
    const name =
      request.name ??
      `${this.device.pciAddress} bar${String(request.bar)} #${String(this.#exported)}`;
    const { flags } = request;
    return DmaBuf.export({ ops: buffer, size: buffer.source.size, name, flags, scheduler, events });
  }
}

function noReset({ pciAddress }: PciFunction): DmaBufError {
  return new DmaBufError("EINVAL", "vfio.reset", `${pciAddress} has no way to be reset alone`, {
    hint: "a hot reset of the whole bus may work: all its functions must be yours",
  });
}
