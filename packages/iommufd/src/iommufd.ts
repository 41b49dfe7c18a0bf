import {
  asyncDispose,
  Closing,
  DmaBufError,
  type DmaDevice,
  defaultScheduler,
  type EventSink,
  type IommuBackend,
  type Scheduler,
} from "@peerbar/core";
import type { ImporterContext } from "./dma-buf-pages.js";
import { DEVICE_NAME } from "./event.js";
import type { Hwpt } from "./hwpt.js";
import { Ioas } from "./ioas.js";
import { type IommufdObject, ObjectTable, type ObjectType } from "./object-table.js";
import { Restorer } from "./restorer.js";

/** What an {@link Iommufd} tells, and how it behaves beyond the kernel. */
export interface IommufdOptions {
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
  /**
   * Beyond Linux, off by default: when the exporter lifts a revoke, map every area again at its IOVA. Linux keeps a revoked import dead
   * for good (iommufd R15).
   */
  readonly remapOnRestore?: boolean | undefined;
}

/** A device this iommufd knows: what VFIO_DEVICE_BIND_IOMMUFD returns the id of. */
export interface BoundDevice extends IommufdObject {
  readonly type: "device";
  readonly device: DmaDevice;
}

/** One open /dev/iommu over a backend, mock or kernel. Closing it ends every object it made. */
export class Iommufd implements AsyncDisposable {
  readonly backend: IommuBackend;
  readonly #objects = new ObjectTable();
  readonly #devices = new Map<DmaDevice, BoundDevice>();
  readonly #hwpts = new Map<DmaDevice, Hwpt>();
  readonly #context: ImporterContext;
  readonly #restorer: Restorer | undefined;
  readonly #closing = new Closing();

  /** @param backend - who keeps the address spaces; stays the caller's */
  constructor(backend: IommuBackend, options: IommufdOptions = {}) {
    this.backend = backend;
    const scheduler = options.scheduler ?? defaultScheduler;
    const watch = scheduler.watch?.object(DEVICE_NAME);
    const restorer = options.remapOnRestore === true ? new Restorer(scheduler, watch) : undefined;
    this.#restorer = restorer;
    this.#context = {
      // The kernel's /dev/iommu misc device: it has no PCI address and never masters the bus (iommufd R7).
      device: { name: DEVICE_NAME, pciAddress: undefined, dmaMask: (1n << 64n) - 1n },
      accepts: backend.accepts,
      events: options.events,
      watch,
      importing: new Set(),
      restorable:
        restorer &&
        ((pages) => {
          restorer.request(pages);
        }),
    };
  }

  /** `IOMMU_IOAS_ALLOC`. The caller owns it and closes it. @throws DmaBufError EBADF after close. */
  allocIoas(): Ioas {
    this.#assertOpen("iommufd.allocIoas");
    const space = this.backend.allocAddressSpace();
    return this.#objects.add(
      (id) =>
        new Ioas(id, space, this.#context, {
          objects: this.#objects,
          hwpts: this.#hwpts,
          bind: (device) => this.bind(device),
        }),
    );
  }

  /** The device's object; the same one at every call. Attaching binds by itself. */
  bind(device: DmaDevice): BoundDevice {
    this.#assertOpen("iommufd.bind");
    let bound = this.#devices.get(device);
    if (bound === undefined) {
      bound = this.#objects.add((id): BoundDevice => ({ type: "device", id, device }));
      this.#devices.set(device, bound);
    }
    return bound;
  }

  /** @throws DmaBufError ENOENT for an unknown id, or one of another kind (iommufd R2). */
  get(id: number, type?: ObjectType): IommufdObject {
    this.#assertOpen("iommufd.get");
    return this.#objects.get(id, type);
  }

  /** The address space with that id. @throws DmaBufError ENOENT (iommufd M4). */
  ioas(id: number): Ioas {
    this.#assertOpen("iommufd.ioas");
    const object = this.#objects.get(id, "ioas");
    if (!(object instanceof Ioas)) throw new TypeError("iommufd: another copy's object");
    return object;
  }

  /**
   * `IOMMU_IOAS_CHANGE_PROCESS`: moves the page accounting to the caller. Only file pages can move.
   *
   * @throws DmaBufError EINVAL while any address space of this iommufd shows a dma-buf (iommufd section 5).
   */
  changeProcess(): void {
    this.#assertOpen("iommufd.changeProcess");
    for (const object of this.#objects) {
      if (object instanceof Ioas && object.areaCount > 0) {
        throw new DmaBufError(
          "EINVAL",
          "iommufd.changeProcess",
          `ioas ${object.id} shows a dma-buf`,
          { hint: "unmap the dma-bufs first", rule: "iommufd section 5" },
        );
      }
    }
  }

  /** Waits until `remapOnRestore` has nothing left to do; returns at once without it. */
  async settled(): Promise<void> {
    await this.#restorer?.settled();
  }

  /**
   * Closes /dev/iommu: every address space with its mappings, page tables and devices. Maps under way find it closed and are waited for, as
   * the last close of the file waits for calls that run. Closing twice is harmless; after a failure it goes on from there.
   */
  close(): Promise<void> {
    this.#context.watch?.touch(true);
    return this.#closing.run(async () => {
      for (const object of [...this.#objects]) {
        if (object instanceof Ioas) await object.close();
      }
      await Promise.allSettled(this.#context.importing);
      this.#devices.clear();
      await this.settled();
    });
  }

  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  #assertOpen(syscall: string): void {
    this.#context.watch?.touch(true);
    if (this.#closing.begun) throw new DmaBufError("EBADF", syscall, "the iommufd is closed");
  }
}
