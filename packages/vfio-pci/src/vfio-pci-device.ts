import {
  asyncDispose,
  type BarExporter,
  DmaBuf,
  DmaBufError,
  type DmaBufErrorCode,
  type EventSink,
  type ExportRequest,
  type PciBar,
  type PciFunction,
  type PciPowerState,
  type Scheduler,
  type WaitOptions,
} from "@peerbar/core";
import { BarProvider } from "./attach-kind.js";
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
import { BufferList, type Draining } from "./buffer-list.js";
import { type Capabilities, findCapabilities } from "./capabilities.js";
import {
  type ConfigAccess,
  type ConfigTrigger,
  chop,
  physicalValue,
  triggerOf,
} from "./config-write.js";
import { type BarSource, type IovaPolicy, MappingIova } from "./iova-policy.js";
import { COMMAND, MemoryState } from "./memory-state.js";
import type { P2pDecision } from "./p2p-decision.js";
import { Registration } from "./registration.js";

/** @internal What {@link VfioPci} hands to each device it opens. */
export interface DeviceSetup {
  readonly p2pdma: P2pDecision;
  readonly scheduler: Scheduler;
  readonly events: EventSink | undefined;
  readonly unclaimed: ReadonlySet<number>;
  readonly nonMappable: boolean;
  onClosed(device: VfioPciDevice): void;
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
  readonly #capabilities: Capabilities;
  readonly #memory: MemoryState;
  readonly #registration: Registration;
  readonly #list: BufferList;
  readonly #providers: (BarProvider | undefined)[] = [];
  #closing = false;
  #closed = false;
  #exported = 0;

  /** @internal Made by `VfioPci.open`. */
  constructor(fn: PciFunction, setup: DeviceSetup) {
    this.device = fn;
    this.#setup = setup;
    this.#bars = { bars: fn.bars, unclaimed: setup.unclaimed, nonMappable: setup.nonMappable };
    this.#capabilities = findCapabilities(fn);
    this.#memory = new MemoryState(fn, this.#capabilities);
    this.#registration = new Registration(fn.pciAddress, setup.scheduler);
    this.#list = new BufferList(fn.pciAddress, setup.scheduler, this.#registration);
    this.#registration.get("vfio.open");
    this.#memory.enable();
  }

  /** True once closed; nothing can be done with the device any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether a buffer exported now could be mapped (vfio-pci-dmabuf R22). */
  get memoryEnabled(): boolean {
    return !this.#closing && this.#memory.enabled;
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

  /**
   * Shares pages of one BAR as a buffer. It is born revoked where memory does not decode (vfio-pci-dmabuf R6). The ranges may overlap,
   * repeat and come in any order (R3). The caller owns the buffer and closes it.
   *
   * @throws DmaBufError EINVAL, ENODEV, ENOMEM, EOVERFLOW by vfio-pci-dmabuf V11 to V22, the first that applies; EBADF after close; EINTR,
   *   ETIMEDOUT while waiting for a reset in progress. Nothing is left behind.
   */
  async exportDmaBuf(request: ExportRequest, options?: WaitOptions): Promise<DmaBuf> {
    this.#assertOpen(EXPORT);
    const source = this.#source(request);
    this.#registration.get(EXPORT);
    let dmabuf: DmaBuf | undefined;
    try {
      const buffer = new BarBuffer(source, this.#policy(source));
      dmabuf = this.#dmabuf(buffer, request);
      const { memoryLock } = this.#list;
      const guard = memoryLock.tryLock() ?? (await memoryLock.lock(options));
      try {
        this.#assertOpen(EXPORT);
        buffer.bind(dmabuf, this.#list, !this.#memory.enabled);
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

  /** Config space as the user sees it: the I/O and memory bits of the command register are virtual (vfio-pci-dmabuf R22). */
  readConfig(offset: number, size: 1 | 2 | 4): number {
    this.#assertOpen("vfio.readConfig");
    this.#checkAccess("vfio.readConfig", offset, size);
    const physical = this.device.readConfig(offset, size);
    return offset === COMMAND ? this.#memory.virtualCommand(physical) : physical;
  }

  /**
   * Writes config space. A command write at offset 4, a power state, and a function-level reset take the memory lock and move the buffers
   * (vfio-pci-dmabuf, triggers). A refused power change is not an error here, as in the kernel (R24).
   *
   * @throws DmaBufError EINVAL for an access outside config space; EBADF after close; EINTR, ETIMEDOUT as the options say.
   */
  async writeConfig(
    offset: number,
    size: 1 | 2 | 4,
    value: number,
    options?: WaitOptions,
  ): Promise<void> {
    this.#assertOpen("vfio.writeConfig");
    this.#checkAccess("vfio.writeConfig", offset, size);
    for (const access of chop(offset, size, value)) await this.#write(access, options);
  }

  /**
   * `VFIO_DEVICE_RESET`: revokes, drains, resets, and restores where memory is on afterwards, even when the reset itself failed.
   *
   * @throws DmaBufError what the reset threw; EBADF after close; EINTR, ETIMEDOUT with the list of buffers that stay revoked.
   */
  async reset(options?: WaitOptions): Promise<void> {
    this.#assertOpen("vfio.reset");
    await this.#exclusive("vfio.reset", "device-reset", options, async () => {
      this.#setPower(0);
      await this.#list.move(true, options);
      await this.#resetFunction(options);
    });
  }

  /**
   * Closes the device: revokes and drains every buffer for good, cuts them off, then disables the function (vfio-pci-dmabuf R28,
   * known-bugs B6). Buffers stay valid objects that can be looked at and closed. Closing twice is harmless.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT: the device is unusable by then, and closing again finishes the work.
   */
  async close(options?: WaitOptions): Promise<void> {
    if (this.#closed) return;
    this.#closing = true;
    await this.#exclusive("vfio.close", "close", options, async () => {
      if (this.#closed) return;
      await this.#list.move(true, options);
      this.#list.orphan();
      this.#memory.disable();
      this.#closed = true;
      this.#registration.put();
      this.#setup.onClosed(this);
    });
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

  #source(request: ExportRequest): BarSource {
    const { bar: index, ranges } = request;
    checkCount(ranges.length);
    const bar = claimedBar(this.#bars, index);
    checkListSize(ranges.length);
    const size = sumRanges(ranges);
    checkMemoryBar(bar);
    const provider = this.#provider(bar);
    return { provider, ranges: placeRanges(bar, ranges), size };
  }

  #provider(bar: PciBar): BarProvider {
    const known = this.#providers[bar.index];
    if (known !== undefined) return known;
    const offset = bar.busStart - bar.start;
    const provider = new BarProvider(this.#setup.p2pdma, this.device.pciAddress, offset);
    this.#providers[bar.index] = provider;
    return provider;
  }

  #policy(source: BarSource): IovaPolicy {
    return new MappingIova(source);
  }

  #dmabuf(buffer: BarBuffer, request: ExportRequest): DmaBuf {
    const { scheduler, events } = this.#setup;
    this.#exported += 1;
    const name =
      request.name ??
      `${this.device.pciAddress} bar${String(request.bar)} #${String(this.#exported)}`;
    return DmaBuf.export({ ops: buffer, size: buffer.source.size, name, scheduler, events });
  }

  async #write(access: ConfigAccess, options: WaitOptions | undefined): Promise<void> {
    const trigger = triggerOf(this.device, this.#capabilities, access);
    if (trigger === undefined) this.#store(access);
    else if (trigger.kind === "command") await this.#writeCommand(access, trigger.memory, options);
    else {
      this.#store(access);
      await (trigger.kind === "power"
        ? this.#changePower(trigger.state, options)
        : this.#functionLevelReset(trigger, options));
    }
  }

  /** `vfio_basic_config_write` for an access at offset 4. A failing store leaves the buffers revoked (vfio-pci-dmabuf R27). */
  #writeCommand(
    access: ConfigAccess,
    memory: boolean,
    options: WaitOptions | undefined,
  ): Promise<void> {
    const name = memory ? "memory-on" : "memory-off";
    return this.#exclusive("vfio.writeConfig", name, options, async () => {
      if (!memory) await this.#list.move(true, options);
      this.#store(access);
      this.#memory.noteCommand(access.value);
      await this.#restore(options);
    });
  }

  /** `vfio_lock_and_set_power_state`: what the power change itself answers is not looked at (vfio-pci-dmabuf R24). */
  #changePower(state: PciPowerState, options: WaitOptions | undefined): Promise<void> {
    const name = `power-d${String(state)}`;
    return this.#exclusive("vfio.writeConfig", name, options, async () => {
      if (state >= 3) await this.#list.move(true, options);
      this.#setPower(state);
      await this.#restore(options);
    });
  }

  #functionLevelReset(
    trigger: Extract<ConfigTrigger, { kind: "flr" }>,
    options: WaitOptions | undefined,
  ): Promise<void> {
    return this.#exclusive("vfio.writeConfig", `flr-${trigger.by}`, options, async () => {
      await this.#list.move(true, options);
      // A failed reset is not reported through config space.
      await this.#resetFunction(options).catch(keepInterrupts);
    });
  }

  async #resetFunction(options: WaitOptions | undefined): Promise<void> {
    try {
      await this.device.reset();
    } finally {
      await this.#restore(options);
    }
  }

  async #restore(options: WaitOptions | undefined): Promise<void> {
    if (this.#memory.enabled) await this.#list.move(false, options);
  }

  #setPower(state: PciPowerState): void {
    try {
      this.#memory.setPower(state);
    } catch (error) {
      if (!(error instanceof DmaBufError) || error.code !== "EBUSY") throw error;
    }
  }

  #store(access: ConfigAccess): void {
    const power = this.device.powerState & 0x3;
    const value = physicalValue(this.#capabilities, access, power);
    this.device.writeConfig(access.offset, access.size, value);
  }

  /** Runs `work` under the memory lock. A wait given up by the caller is reported with what it leaves behind. */
  async #exclusive(
    syscall: string,
    trigger: string,
    options: WaitOptions | undefined,
    work: () => Promise<void>,
  ): Promise<void> {
    const guard = await this.#list.memoryLock.lock(options);
    try {
      this.#setup.events?.emit({ type: "trigger", device: this.device.pciAddress, trigger });
      await work();
    } catch (error) {
      throw isInterrupt(error) ? this.#interrupted(syscall, error) : error;
    } finally {
      guard.release();
    }
  }

  #interrupted(syscall: string, error: DmaBufError): DmaBufError {
    const revoked: string[] = [];
    for (const buffer of this.#list.buffers) {
      if (!buffer.revoked) continue;
      const { mappings } = buffer;
      const left = buffer.drained ? "" : ` (${String(mappings)} mappings left)`;
      revoked.push(`${buffer.dmabuf.label}${left}`);
    }
    return new DmaBufError(
      error.code,
      syscall,
      `given up while waiting for importers; revoked until memory is restored: ${revoked.join(", ") || "none"}`,
      {
        cause: error,
        hint: "repeat the call to go on from here; `draining` shows who is waited for",
        rule: "vfio-pci-dmabuf R21",
      },
    );
  }

  #assertOpen(syscall: string): void {
    if (!this.#closing) return;
    throw new DmaBufError("EBADF", syscall, `${this.device.pciAddress} was closed`, {
      hint: "open it again",
    });
  }

  #checkAccess(syscall: string, offset: number, size: number): void {
    const inside = Number.isInteger(offset) && offset >= 0 && offset + size <= 4096;
    if (inside && (size === 1 || size === 2 || size === 4)) return;
    throw new DmaBufError(
      "EINVAL",
      syscall,
      `${String(size)} bytes at ${String(offset)} are not in config space`,
      { hint: "read or write 1, 2 or 4 bytes below 0x1000" },
    );
  }
}

const interrupts: ReadonlySet<DmaBufErrorCode> = new Set<DmaBufErrorCode>(["EINTR", "ETIMEDOUT"]);

function isInterrupt(error: unknown): error is DmaBufError {
  return error instanceof DmaBufError && interrupts.has(error.code);
}

function keepInterrupts(error: unknown): void {
  if (isInterrupt(error)) throw error;
}
