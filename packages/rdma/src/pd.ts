import { type DmaBuf, DmaBufError, hex, isPageAligned } from "@peerbar/core";
import { checkAccess } from "./access.js";
import { checkPageOffset, MemoryRegion, type MrHost } from "./memory-region.js";
import type { MrOptions, MrRequest } from "./mr-request.js";
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
  #registering = 0;
  #open = true;

  /** @internal Made by `RdmaDevice.allocPd`. */
  constructor(device: RdmaDevice, id: number, host: MrHost, onDealloc: (pd: Pd) => void) {
    this.device = device;
    this.id = id;
    this.#host = host;
    this.#onDealloc = onDealloc;
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
    const mode = request.mode ?? profile.modes[0];
    if (mode === undefined || !profile.modes.includes(mode)) {
      throw new DmaBufError(
        "EOPNOTSUPP",
        "rdma.regMr",
        `${profile.name} has no ${mode ?? "dma-buf"} registration`,
        { hint: `it knows [${profile.modes.join(", ")}]`, rule: "rdma-umem R30" },
      );
    }
    checkPageOffset(request, "rdma.regMr");
    checkAccess(request.access, "rdma.regMr");
    if (mode === "data-direct" && !isPageAligned(request.iova)) {
      throw new DmaBufError("EOPNOTSUPP", "rdma.regMr", `iova ${hex(request.iova)} inside a page`, {
        hint: "data-direct regions begin at a page",
        rule: "rdma-umem R25",
      });
    }
    if (request.length > profile.maxMrSize) {
      throw new DmaBufError(
        "EINVAL",
        "rdma.regMr",
        `${hex(request.length)} bytes; ${profile.name} takes ${hex(profile.maxMrSize)}`,
        { rule: "rdma-umem R26" },
      );
    }
    return this.#register(() =>
      MemoryRegion.register(this.#host, this, buffer, request, mode, options),
    );
  }

  /**
   * The REG_MR method, which takes a buffer or an address (rdma-umem R31).
   *
   * @throws DmaBufError EINVAL, EOPNOTSUPP for the attributes, then as {@link regDmaBufMr}.
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
    if (!this.#open) return;
    const users = this.#regions.size + this.#pairs.size + this.#registering;
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

  /** @internal Ends everything in the domain, then the domain. */
  async close(): Promise<void> {
    for (const pair of [...this.#pairs]) pair.destroy();
    await Promise.all([...this.#regions].map((mr) => mr.dereg()));
    this.#open = false;
    this.#onDealloc(this);
  }

  /** @internal */
  adopt(mr: MemoryRegion): void {
    this.#regions.add(mr);
  }

  /** @internal */
  forget(mr: MemoryRegion): void {
    this.#regions.delete(mr);
  }

  async #register(make: () => Promise<MemoryRegion>): Promise<MemoryRegion> {
    this.#registering += 1;
    try {
      const mr = await make();
      this.#regions.add(mr);
      if (!this.#open) {
        await mr.dereg();
        this.#assertOpen("rdma.regMr");
      }
      return mr;
    } finally {
      this.#registering -= 1;
    }
  }

  #assertOpen(syscall: string): void {
    if (!this.#open) throw new DmaBufError("EBADF", syscall, `pd ${this.id} is deallocated`);
  }
}
