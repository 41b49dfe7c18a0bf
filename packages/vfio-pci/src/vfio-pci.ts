import {
  DmaBufError,
  defaultScheduler,
  type EventSink,
  type PciFunction,
  type Scheduler,
} from "@peerbar/core";
import type { P2pDecision } from "./p2p-decision.js";
import { VfioPciDevice } from "./vfio-pci-device.js";

export interface VfioPciOptions {
  /** Who decides whether, and how, a client reaches a BAR: `P2pdma` of `@peerbar/p2pdma`. */
  readonly p2pdma: P2pDecision;
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
}

export interface OpenOptions {
  /** BARs that another driver has claimed: exports of them fail with ENODEV (vfio-pci-dmabuf V12, known-bugs B7). */
  readonly unclaimedBars?: readonly number[] | undefined;
  /** No BAR of this function may be mapped, as with s390 ISM (vfio-pci-dmabuf V12, V18). */
  readonly nonMappableBars?: boolean | undefined;
}

/** The vfio-pci driver on a simulated machine: opens functions for sharing their BARs. */
export class VfioPci {
  readonly #options: VfioPciOptions;
  readonly #scheduler: Scheduler;
  readonly #open = new Map<string, VfioPciDevice>();

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
   * (vfio-pci-dmabuf R29).
   *
   * @throws DmaBufError EBUSY while it is open.
   */
  open(fn: PciFunction, options: OpenOptions = {}): Promise<VfioPciDevice> {
    if (this.#open.has(fn.pciAddress)) {
      return Promise.reject(
        new DmaBufError("EBUSY", "vfio.open", `${fn.pciAddress} is open already`, {
          hint: "close it first, or use the device that is open",
        }),
      );
    }
    const device = new VfioPciDevice(fn, {
      p2pdma: this.#options.p2pdma,
      scheduler: this.#scheduler,
      events: this.#options.events,
      unclaimed: new Set(options.unclaimedBars),
      nonMappable: options.nonMappableBars ?? false,
      onClosed: (closed) => {
        this.#open.delete(closed.device.pciAddress);
      },
    });
    this.#open.set(fn.pciAddress, device);
    return Promise.resolve(device);
  }
}
