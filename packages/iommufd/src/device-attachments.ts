import { DmaBufError, type DmaDevice, type IommuDomain } from "@peerbar/core";
import { Hwpt } from "./hwpt.js";
import type { Ioas, IoasOwner } from "./ioas.js";

/** The page tables of one address space, and the devices attached to them. */
export class DeviceAttachments {
  readonly #ioas: Ioas;
  readonly #owner: IoasOwner;
  /** By the backend's domain id. */
  readonly #hwpts = new Map<number, Hwpt>();

  constructor(ioas: Ioas, owner: IoasOwner) {
    this.#ioas = ioas;
    this.#owner = owner;
  }

  get size(): number {
    return this.#hwpts.size;
  }

  get hwpts(): Iterable<Hwpt> {
    return this.#hwpts.values();
  }

  attach(device: DmaDevice, hwpt: Hwpt | undefined): Hwpt {
    if (this.#owner.hwpts.has(device)) return this.replace(device, hwpt);
    this.#assertOwn(hwpt);
    this.#owner.bind(device);
    return this.#enter(device, this.#ioas.space.attach(device, hwpt?.domain));
  }

  replace(device: DmaDevice, hwpt: Hwpt | undefined): Hwpt {
    const old = this.#owner.hwpts.get(device);
    if (old === undefined) throw notAttached(device, "iommufd.replace");
    this.#assertOwn(hwpt);
    const stays = hwpt === undefined ? old.ioas === this.#ioas && old.automatic : old === hwpt;
    if (stays) return old;
    // The backend moves it at once or leaves it where it was (`iommufd_device_replace`); what is known of it follows.
    const domain = this.#ioas.space.attach(device, hwpt?.domain);
    const entered = this.#enter(device, domain);
    old.ioas.left(device, old);
    return entered;
  }

  detach(device: DmaDevice): void {
    const hwpt = this.#owner.hwpts.get(device);
    if (hwpt?.ioas !== this.#ioas) throw notAttached(device, "iommufd.detach");
    this.#ioas.space.detach(device);
    this.left(device, hwpt);
  }

  /** The backend has the device elsewhere, or nowhere. */
  left(device: DmaDevice, hwpt: Hwpt): void {
    hwpt.attached.delete(device);
    if (this.#owner.hwpts.get(device) === hwpt) this.#owner.hwpts.delete(device);
    if (hwpt.automatic && hwpt.attached.size === 0) this.#forget(hwpt);
  }

  allocHwpt(device: DmaDevice): Hwpt {
    this.#owner.bind(device);
    return this.#hwptOf(this.#ioas.space.allocDomain(device), false);
  }

  freeHwpt(hwpt: Hwpt): void {
    if (this.#hwpts.get(hwpt.domain.id) !== hwpt) return;
    if (hwpt.attached.size > 0) {
      throw new DmaBufError(
        "EBUSY",
        "iommufd.freeHwpt",
        `hwpt ${hwpt.id} translates for ${hwpt.devices.join(", ")}`,
        { hint: "detach the devices first" },
      );
    }
    this.#ioas.space.freeDomain(hwpt.domain);
    this.#forget(hwpt);
  }

  /** Detaches every device and ends every page table. */
  close(): void {
    for (const hwpt of [...this.#hwpts.values()]) {
      for (const device of [...hwpt.attached]) this.detach(device);
      this.freeHwpt(hwpt);
    }
  }

  #enter(device: DmaDevice, domain: IommuDomain): Hwpt {
    const hwpt = this.#hwptOf(domain, true);
    hwpt.attached.add(device);
    this.#owner.hwpts.set(device, hwpt);
    return hwpt;
  }

  #hwptOf(domain: IommuDomain, automatic: boolean): Hwpt {
    const known = this.#hwpts.get(domain.id);
    if (known !== undefined) return known;
    const hwpt = this.#owner.objects.add((id) => new Hwpt(id, this.#ioas, domain, automatic));
    this.#hwpts.set(domain.id, hwpt);
    return hwpt;
  }

  #forget(hwpt: Hwpt): void {
    this.#hwpts.delete(hwpt.domain.id);
    this.#owner.objects.remove(hwpt);
  }

  #assertOwn(hwpt: Hwpt | undefined): void {
    if (hwpt === undefined || this.#hwpts.get(hwpt.domain.id) === hwpt) return;
    throw new DmaBufError(
      "EINVAL",
      "iommufd.attach",
      `hwpt ${hwpt.id} is not of ioas ${this.#ioas.id}`,
      { hint: "attach the device in the page table's own address space", rule: "iommufd R29" },
    );
  }
}

function notAttached(device: DmaDevice, syscall: string): DmaBufError {
  return new DmaBufError("EINVAL", syscall, `${device.name} is not attached`);
}
