import {
  asyncDispose,
  Closing,
  DmaBufError,
  type DmaDevice,
  defaultScheduler,
  type EventSink,
  Lock,
  type ObjectWatch,
  type Scheduler,
  type WaitOptions,
} from "@peerbar/core";
import { KEY_INDEXES, KeyTable } from "./key-table.js";
import type { MemoryRegion, MrHost } from "./memory-region.js";
import { Pd } from "./pd.js";
import { PinnedBacking } from "./pinned-backing.js";
import { type MrMode, type ProviderProfile, softProfile } from "./profile.js";

/** Which driver the device behaves like, and what it tells. */
export interface RdmaDeviceOptions {
  /** Which driver it behaves like; the model's own device by default. */
  readonly profile?: ProviderProfile;
  /** A second function that does the DMA of "data-direct" regions (rdma-umem R25). */
  readonly dataDirect?: DmaDevice | undefined;
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
  /** Memory key indexes the device has. */
  readonly keyIndexes?: number;
  /** Called for each hardware invalidation of a key; throwing stands for a command that failed (rdma-umem R27). */
  readonly onInvalidateKey?: ((key: number) => void) | undefined;
}

/** An RDMA device over a function that can master the bus: `struct ib_device`. Closing it ends everything it made. */
export class RdmaDevice implements AsyncDisposable {
  readonly fn: DmaDevice;
  readonly profile: ProviderProfile;
  readonly scheduler: Scheduler;
  readonly events: EventSink | undefined;
  readonly #keys: KeyTable<MemoryRegion>;
  readonly #pds = new Set<Pd>();
  readonly #host: MrHost;
  readonly #onInvalidateKey: ((key: number) => void) | undefined;
  /** mlx5's `data_direct_lock`: from the look at the function to the entry of a region made with it (rdma-umem R25, section 9). */
  readonly #dataDirectLock: Lock;
  /** Whether it is open is asked without a lock. */
  readonly #watch: ObjectWatch | undefined;
  readonly #closing = new Closing();
  #dataDirect: DmaDevice | undefined;
  #resetRequested = false;
  #pdNumber = 0;
  #qpNumber = 0;

  /** @param fn - the function whose DMA moves the bytes; stays the caller's */
  constructor(fn: DmaDevice, options: RdmaDeviceOptions = {}) {
    this.fn = fn;
    this.profile = options.profile ?? softProfile;
    this.scheduler = options.scheduler ?? defaultScheduler;
    this.events = options.events;
    this.#dataDirect = options.dataDirect;
    this.#onInvalidateKey = options.onInvalidateKey;
    this.#dataDirectLock = new Lock(`${fn.name} data_direct_lock`, this.scheduler);
    this.#watch = this.scheduler.watch?.object(`${fn.name} domains`);
    const watch = this.scheduler.watch?.object(`${fn.name} keys`);
    this.#keys = new KeyTable(options.keyIndexes ?? KEY_INDEXES, watch);
    this.#host = {
      name: fn.name,
      profile: this.profile,
      scheduler: this.scheduler,
      events: this.events,
      dmaDevice: (mode) => this.#dmaDevice(mode),
      registering: (mode, work, options) =>
        mode === "data-direct" ? this.#dataDirectLock.hold(work, options) : work(),
      addKey: (mr) => this.#keys.add(mr),
      removeKey: (key) => {
        const mr = this.#keys.get(key);
        this.#keys.remove(key);
        mr?.pd.forget(mr);
      },
      invalidateHardware: (mr) => {
        this.#invalidateHardware(mr);
      },
    };
  }

  get name(): string {
    return this.fn.name;
  }

  /** A hardware command failed in a revoke: the driver would reset the device (rdma-umem R27). */
  get resetRequested(): boolean {
    return this.#resetRequested;
  }

  /** `ibv_alloc_pd`. The caller owns it. @throws DmaBufError EBADF after close. */
  allocPd(): Pd {
    this.#watch?.touch(true);
    if (this.#closing.begun) {
      throw new DmaBufError("EBADF", "rdma.allocPd", `${this.name} is closed`);
    }
    this.#pdNumber += 1;
    const pd = new Pd(this, this.#pdNumber, this.#host, (closed) => {
      this.#pds.delete(closed);
    });
    this.#pds.add(pd);
    return pd;
  }

  /** The region with that key, dead ones included; undefined where the key is free. */
  region(key: number): MemoryRegion | undefined {
    return this.#keys.get(key);
  }

  /**
   * The data-direct function goes away: its regions are revoked, translation first, and keep their keys (rdma-umem R25). Waits for
   * registrations with it that are under way, then for each buffer's reservation.
   *
   * @throws DmaBufError EINTR, ETIMEDOUT while it waits for registrations: the function is still there.
   */
  removeDataDirect(options?: WaitOptions): Promise<void> {
    return this.#dataDirectLock.hold(async () => {
      this.#dataDirect = undefined;
      // All of them first: a region may move from one domain to another meanwhile.
      const regions = [...this.#pds].flatMap((pd) => [...pd.regions]);
      for (const { mode, backing } of regions) {
        if (mode === "data-direct" && backing instanceof PinnedBacking) await backing.revoke();
      }
    }, options);
  }

  /** @internal */
  nextQpNumber(): number {
    this.#qpNumber += 1;
    return this.#qpNumber;
  }

  /**
   * Destroys queue pairs, deregisters regions, deallocates domains, and waits for registrations under way, which leave nothing. Closing twice
   * is harmless; after a failure it goes on from there.
   */
  close(): Promise<void> {
    this.#watch?.touch(true);
    return this.#closing.run(async () => {
      for (const pd of [...this.#pds]) await pd.close();
    });
  }

  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  #dmaDevice(mode: MrMode): DmaDevice {
    if (mode !== "data-direct") return this.fn;
    if (this.#dataDirect === undefined) {
      throw new DmaBufError("EINVAL", "rdma.regMr", `${this.name} has no data-direct function`, {
        rule: "rdma-umem R25",
      });
    }
    return this.#dataDirect;
  }

  #invalidateHardware(mr: MemoryRegion): void {
    try {
      this.#onInvalidateKey?.(mr.lkey);
    } catch {
      // The unmap goes on regardless: the exporter must not be held up by a broken importer (rdma-umem R27).
      this.#resetRequested = true;
    }
  }
}
