import "./events.js";
import {
  DmaBufError,
  type DmaBufErrorCode,
  type EventSink,
  isDmaBufError,
  type LockGuard,
  type PciFunction,
  type PciPowerState,
  type WaitOptions,
} from "@peerbar/core";
import type { BarViews } from "./bar-view.js";
import type { BufferList } from "./buffer-list.js";
import type { MemoryState } from "./memory-state.js";

/** What made memory stop, or start, decoding: names of the `trigger` event. */
export type TriggerName =
  | "memory-off"
  | "memory-on"
  | `power-d${0 | 1 | 2 | 3 | 4}`
  | "flr-express"
  | "flr-af"
  | "device-reset"
  | "hot-reset"
  | "low-power-entry"
  | "low-power-exit"
  | "wake-up"
  | "close";

/**
 * Everything that must change together when memory stops or starts to decode: the CPU's views and the buffers, under one lock
 * (vfio-pci-dmabuf, triggers: each holds memory_lock for write).
 */
export class MemoryGate {
  readonly fn: PciFunction;
  readonly state: MemoryState;
  readonly list: BufferList;
  readonly views: BarViews;
  /**
   * `closing` from the first close on, though it may be given up and done again: nothing new begins. `closed` is set under the lock: who
   * waited for the lock meanwhile finds the device gone.
   */
  phase: "open" | "closing" | "closed" = "open";
  readonly #events: EventSink | undefined;

  constructor(
    fn: PciFunction,
    state: MemoryState,
    list: BufferList,
    views: BarViews,
    events: EventSink | undefined,
  ) {
    this.fn = fn;
    this.state = state;
    this.list = list;
    this.views = views;
    this.#events = events;
  }

  /**
   * Runs `work` under the memory lock. A wait given up by the caller is reported with what it leaves behind.
   *
   * @throws DmaBufError EBADF where the device was closed meanwhile.
   */
  async exclusive(
    syscall: string,
    trigger: TriggerName,
    options: WaitOptions | undefined,
    work: () => Promise<void>,
  ): Promise<void> {
    await this.list.memoryLock.hold(async () => {
      try {
        if (this.phase === "closed") throw closedDevice(syscall, this.fn);
        this.announce(trigger);
        await work();
      } catch (error) {
        throw givenUp(syscall, error, [this]);
      }
    }, options);
  }

  /** The memory lock where it is free at once. */
  tryLock(): LockGuard | undefined {
    return this.list.memoryLock.tryLock();
  }

  announce(trigger: TriggerName): void {
    this.#events?.emit({ type: "trigger", device: this.fn.pciAddress, trigger });
  }

  /** Takes the CPU's mappings down (vfio-pci-dmabuf R31). */
  zap(): void {
    const views = this.views.zap();
    if (views > 0) this.#events?.emit({ type: "zap", device: this.fn.pciAddress, views });
  }

  /** Zap, then revoke and drain: the order of every trigger but the hot reset. */
  async shut(options: WaitOptions | undefined): Promise<void> {
    this.zap();
    await this.list.move(true, options);
  }

  /** Makes the buffers usable where memory decodes now. */
  async reopen(options: WaitOptions | undefined): Promise<void> {
    if (this.state.enabled) await this.list.move(false, options);
  }

  /** Changes the power state; a refusal is not looked at, as in every caller of the kernel (vfio-pci-dmabuf R24). */
  setPower(state: PciPowerState): void {
    try {
      this.state.setPower(state);
    } catch (error) {
      if (!isDmaBufError(error) || error.code !== "EBUSY") throw error;
    }
  }

  /** Resets, then reopens, even when the reset failed (vfio-pci-dmabuf, triggers). */
  async reset(options: WaitOptions | undefined): Promise<void> {
    try {
      await this.fn.reset();
    } finally {
      await this.reopen(options);
    }
  }

  /** {@link reset} for those who report nothing of the reset itself: config space has no way to. */
  async resetQuietly(options: WaitOptions | undefined): Promise<void> {
    await this.fn.reset().catch(() => undefined);
    await this.reopen(options);
  }
}

/** EBADF: use after close. */
export function closedDevice(syscall: string, fn: PciFunction): DmaBufError {
  return new DmaBufError("EBADF", syscall, `${fn.pciAddress} was closed`, {
    hint: "open it again",
  });
}

const interrupts: ReadonlySet<DmaBufErrorCode> = new Set<DmaBufErrorCode>(["EINTR", "ETIMEDOUT"]);

/** What a trigger throws: for a wait that its caller gave up an error that names every buffer left revoked, else `error` as it is. */
export function givenUp(syscall: string, error: unknown, gates: readonly MemoryGate[]): unknown {
  if (!isDmaBufError(error) || !interrupts.has(error.code)) return error;
  const revoked: string[] = [];
  for (const { list } of gates) {
    for (const buffer of list.buffers) {
      if (!buffer.revoked) continue;
      const { drained, mappings, dmabuf } = buffer;
      const left = `${String(mappings)} ${mappings === 1 ? "mapping" : "mappings"} left`;
      revoked.push(drained ? dmabuf.label : `${dmabuf.label} (${left})`);
    }
  }
  const names = revoked.length === 0 ? "none" : revoked.join(", ");
  return new DmaBufError(
    error.code,
    syscall,
    `given up while waiting for importers; buffers left revoked: ${names}`,
    {
      cause: error,
      hint: "repeat the call to go on from here; `draining` shows who is waited for",
      rule: "vfio-pci-dmabuf R21",
    },
  );
}
