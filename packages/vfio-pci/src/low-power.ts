import { DmaBufError, type WaitOptions } from "@peerbar/core";
import type { MemoryGate } from "./memory-gate.js";

/**
 * The low-power features of a device: the user declares that it will not touch the function until it leaves (`LOW_POWER_ENTRY`,
 * `LOW_POWER_ENTRY_WITH_WAKEUP`, `LOW_POWER_EXIT`). The function's own power state is not changed here; runtime PM may.
 */
export class LowPower {
  readonly #gate: MemoryGate;
  #onWakeUp: (() => void) | undefined;

  constructor(gate: MemoryGate) {
    this.#gate = gate;
  }

  /**
   * Zaps and revokes, also where low power is engaged already (vfio-pci-dmabuf, triggers).
   *
   * @throws DmaBufError EINVAL while engaged.
   */
  async enter(onWakeUp: (() => void) | undefined, options: WaitOptions | undefined): Promise<void> {
    const gate = this.#gate;
    await gate.exclusive("vfio.enterLowPower", "low-power-entry", options, async () => {
      await gate.shut(options);
      if (gate.state.lowPower) {
        throw new DmaBufError("EINVAL", "vfio.enterLowPower", "low power is engaged already", {
          hint: "leave it first",
        });
      }
      gate.state.lowPower = true;
      this.#onWakeUp = onWakeUp;
    });
  }

  /** Gives the buffers back where memory decodes; harmless where low power is not engaged. */
  async exit(options: WaitOptions | undefined): Promise<void> {
    const gate = this.#gate;
    await gate.exclusive("vfio.exitLowPower", "low-power-exit", options, async () => {
      this.#disengage();
      await gate.reopen(options);
    });
  }

  /** The function woke by itself: tells the user, who asked for it, and gives nothing back (vfio-pci-dmabuf R25). */
  async wakeUp(options: WaitOptions | undefined): Promise<void> {
    const gate = this.#gate;
    await gate.exclusive("vfio.wakeUp", "wake-up", options, () => {
      const tell = this.#onWakeUp;
      if (tell === undefined) return Promise.resolve();
      this.#disengage();
      tell();
      return Promise.resolve();
    });
  }

  #disengage(): void {
    this.#gate.state.lowPower = false;
    this.#onWakeUp = undefined;
  }
}
