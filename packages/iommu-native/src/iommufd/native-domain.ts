import type { DmaDevice, IommuDomain } from "@peerbar/core";
import type { AttachPlace, AttachPoint } from "./attach-point.js";

/**
 * A page table of the kernel, and who is attached to it. That is asked of each device's {@link AttachPoint}: the close of a device's file
 * detaches, and does not tell the page table.
 */
export class NativeDomain implements IommuDomain, AttachPlace {
  readonly id: number;
  /** Ends with its last device; the kernel made it at an attach (iommufd R26), and gives its id to the next object. */
  readonly automatic: boolean;
  readonly #came = new Map<DmaDevice, AttachPoint>();

  constructor(id: number, automatic: boolean) {
    this.id = id;
    this.automatic = automatic;
  }

  get devices(): readonly string[] {
    return this.#here().map(({ name }) => name);
  }

  /** The kernel has destroyed it. */
  get dead(): boolean {
    return this.automatic && this.#here().length === 0;
  }

  /** The device is attached here now, and nowhere else any more (`iommufd_device_replace`). */
  enter(device: DmaDevice, point: AttachPoint): void {
    if (point.place !== this) point.place?.forget(device);
    this.#came.set(device, point);
    point.place = this;
  }

  /** As {@link AttachPlace.forget}. */
  forget(device: DmaDevice): void {
    this.#came.delete(device);
  }

  /** @returns whether the device was attached here, or had been until its file was closed: nothing is left to detach then. */
  leave(device: DmaDevice): boolean {
    const point = this.#came.get(device);
    if (point === undefined) return false;
    if (point.place === this) {
      point.detach();
      point.place = undefined;
    }
    this.#came.delete(device);
    return true;
  }

  /** Every device leaves. */
  leaveAll(): void {
    for (const device of [...this.#came.keys()]) this.leave(device);
  }

  /** Devices whose file was closed while they were attached here. */
  get closed(): readonly DmaDevice[] {
    return [...this.#came].flatMap(([device, { place }]) => (place === undefined ? [device] : []));
  }

  #here(): readonly DmaDevice[] {
    return [...this.#came].flatMap(([device, { place }]) => (place === this ? [device] : []));
  }
}
