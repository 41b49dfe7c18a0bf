import { DmaBufError, type DmaDevice } from "@peerbar/core";
import type { IommufdCalls } from "./iommufd-file.js";

/** Where a device can be attached. */
export interface AttachPlace {
  /** The device was attached elsewhere: the kernel has replaced this page table by another. */
  forget(device: DmaDevice): void;
}

/** How a device of the kernel joins the page tables of an iommufd. */
export interface AttachPoint {
  /** The iommufd that the device is bound to: its address spaces alone can have it. */
  readonly file: IommufdCalls;
  /** Object id of the device there. */
  readonly id: number;
  /** @param pt - id of an address space or page table. @returns id of the page table in use. */
  attach(pt: number): number;
  detach(): void;
  /**
   * The page table that the device is attached to: the address space that attaches it next takes it out there. Whoever closes the device's
   * file sets it to undefined, for the kernel has detached it.
   */
  place?: AttachPlace | undefined;
}

const points = new WeakMap<DmaDevice, () => AttachPoint>();

/** Says how `device` is attached; asked at each attach, so that it may open itself first. */
export function setAttachPoint(device: DmaDevice, point: () => AttachPoint): void {
  points.set(device, point);
}

/** @throws DmaBufError ENODEV for a device that is not the kernel's; EINVAL for one of another iommufd. */
export function attachPointOf(device: DmaDevice, file: IommufdCalls, syscall: string): AttachPoint {
  const point = points.get(device)?.();
  if (point === undefined) {
    throw new DmaBufError("ENODEV", syscall, `${device.name} is no device of this kernel`, {
      hint: "take it from the native host: host.function(address)",
    });
  }
  if (point.file !== file) {
    throw new DmaBufError("EINVAL", syscall, `${device.name} is bound to another iommufd`, {
      hint: "open the device and the address space from the same host",
    });
  }
  return point;
}
