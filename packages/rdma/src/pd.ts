import { Closing, type DmaBuf, DmaBufError, type ObjectWatch } from "@peerbar/core";
import { MemoryRegion, type MrHost } from "./memory-region.js";
import { checkMemory, modeOf } from "./mr-checks.js";
import type { MrOptions, MrRequest } from "./mr-request.js";
import type { MrMode } from "./profile.js";
import { QueuePair, type QueuePairOptions } from "./queue-pair.js";
import type { RdmaDevice } from "./rdma-device.js";
import { type RegMrAttributes, resolveRegMr } from "./reg-mr.js";

/** A protection domain: regions and queue pairs work together only within one. */
export class Pd {
  readonly device: RdmaDevice;
  /** Number of the domain on its device, from 1. */
  readonly id: number;
  readonly #host: MrHost;
  readonly #onDealloc: (pd: Pd) => void;
  readonly #regions = new Set<MemoryRegion>();
  readonly #pairs = new Set<QueuePair>();
  /** Calls that end with a region in the domain, or with nothing. */
  readonly #pending = new Set<Promise<unknown>>();
  /** Whether it is open, and what is in it, is asked without a lock. */
  readonly #watch: ObjectWatch | undefined;
  readonly #closing = new Closing();
  #open = true;

  /** @internal Made by `RdmaDevice.allocPd`. */
  constructor(device: RdmaDevice, id: number, host: MrHost, onDealloc: (pd: Pd) => void) {
    this.device = device;
    this.id = id;
    this.#host = host;
    this.#onDealloc = onDealloc;
    this.#watch = host.scheduler.watch?.object(`${host.name}.pd${id}`);
  }

  /** Regions not deregistered yet, revoked ones included. */
  get regions(): Iterable<MemoryRegion> {
    return this.#regions;
  }

  /**
   * `ibv_reg_dmabuf_mr`: registers a slice of a dma-buf. The caller owns the region and deregisters it; closing the buffer right after is
   * fine (rdma-umem R32).
   *
   * @throws DmaBufError in this order (rdma-umem R30, R26, R1): EOPNOTSUPP where the device has no such registration, EINVAL for offset and
   *   iova that differ below a page or for flags, EINVAL for a region longer than the device takes, then from umem, exporter (EOPNOTSUPP for
   *   "pinned" of a vfio-pci buffer, ENODEV while revoked) and page size. Nothing stays.
   */
  async regDmaBufMr(
    buffer: DmaBuf,
    request: MrRequest,
    options?: MrOptions,
  ): Promise<MemoryRegion> {
    this.#assertOpen("rdma.regMr");
    const { profile } = this.#host;
    const mode = modeOf(profile, request.mode);
    checkMemory(request, mode, profile, "rdma.regMr");
    const make = (): Promise<MemoryRegion> => this.#register(buffer, request, mode, options);
    return this.during("rdma.regMr", () => this.#host.registering(mode, make, options));
  }

  /**
   * The REG_MR method, which takes a buffer or an address (rdma-umem R31).
   *
   * @throws DmaBufError EINVAL for the set of attributes, then in the order of {@link regDmaBufMr}; EOPNOTSUPP for a DMA handle, or for
   *   ON_DEMAND, is the driver's and comes after all that the verb looks at.
   */
  async regMr(attributes: RegMrAttributes, options?: MrOptions): Promise<MemoryRegion> {
    this.#assertOpen("rdma.regMr");
    const { buffer, request } = resolveRegMr(attributes, this.#host.profile);
    return this.regDmaBufMr(buffer, request, options);
  }

  /** A reliable connected queue pair. @throws DmaBufError EOPNOTSUPP where the device cannot master the bus. */
  createQp(options: QueuePairOptions = {}): QueuePair {
    this.#assertOpen("rdma.createQp");
    const pair = new QueuePair(this, this.device.nextQpNumber(), options, (closed) => {
      this.#pairs.delete(closed);
    });
    this.#pairs.add(pair);
    return pair;
  }

  /** `ibv_dealloc_pd`. @throws DmaBufError EBUSY while regions or queue pairs are in it. */
  dealloc(): void {
    this.#watch?.touch(true);
    if (!this.#open) return;
    const users = this.#regions.size + this.#pairs.size + this.#pending.size;
    if (users > 0) {
      throw new DmaBufError(
        "EBUSY",
        "rdma.deallocPd",
        `${users} regions and queue pairs are left`,
        {
          hint: "destroy the queue pairs and deregister the regions first",
        },
      );
    }
    this.#open = false;
    this.#onDealloc(this);
  }

  /**
   * @internal Ends everything in the domain, then the domain. What is under way is waited for, as the last close of the file waits for calls
   * that run: it finds the domain closed, and leaves nothing.
   */
  close(): Promise<void> {
    this.#watch?.touch(true);
    return this.#closing.run(async () => {
      this.#open = false;
      for (const pair of [...this.#pairs]) pair.destroy();
      while (this.#regions.size + this.#pending.size > 0) {
        await Promise.all([...this.#regions].map((mr) => mr.dereg()));
        await Promise.allSettled(this.#pending);
      }
      this.#onDealloc(this);
    });
  }

  /** @internal Keeps the domain until `work` has ended: meanwhile `dealloc` is EBUSY, and closing waits. @throws DmaBufError EBADF after close. */
  async during<T>(syscall: string, work: () => Promise<T>): Promise<T> {
    this.#assertOpen(syscall);
    this.#watch?.touch(true);
    const running = work();
    this.#pending.add(running);
    try {
      return await running;
    } finally {
      this.#watch?.touch(true);
      this.#pending.delete(running);
    }
  }

  /** @internal */
  adopt(mr: MemoryRegion): void {
    this.#watch?.touch(true);
    this.#regions.add(mr);
  }

  /** @internal */
  forget(mr: MemoryRegion): void {
    this.#watch?.touch(true);
    this.#regions.delete(mr);
  }

  async #register(
    buffer: DmaBuf,
    request: MrRequest,
    mode: MrMode,
    options?: MrOptions,
  ): Promise<MemoryRegion> {
    const mr = await MemoryRegion.register(this.#host, this, buffer, request, mode, options);
    this.adopt(mr);
    if (!this.#open) {
      await mr.dereg();
      this.#assertOpen("rdma.regMr");
    }
    return mr;
  }

  #assertOpen(syscall: string): void {
    this.#watch?.touch(false);
    if (!this.#open) throw new DmaBufError("EBADF", syscall, `pd ${this.id} is deallocated`);
  }
}
