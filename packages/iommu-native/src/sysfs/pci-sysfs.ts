import { DmaBufError } from "@peerbar/core";
import { formatPciAddress, parsePciAddress } from "@peerbar/p2pdma";
import type { KernelFiles } from "./kernel-files.js";

/** Where sysfs lists PCI functions. */
const DEVICES = "/sys/bus/pci/devices";
/** Where sysfs lists PCI drivers. */
export const DRIVERS = "/sys/bus/pci/drivers";

/** The sysfs directory of one PCI function. */
export class PciSysfs {
  /** `0000:3b:00.0`. */
  readonly address: string;
  readonly path: string;
  readonly #files: KernelFiles;

  /** @throws DmaBufError EINVAL for text that is no PCI address, ENODEV where the machine has no such function. */
  constructor(files: KernelFiles, address: string) {
    const parsed = parsePciAddress(address);
    if (parsed === undefined) {
      throw new DmaBufError("EINVAL", "pci", `"${address}" is no PCI address`, {
        hint: "write it as lspci does: 03:00.0 or 0000:03:00.0",
      });
    }
    this.#files = files;
    this.address = formatPciAddress(parsed);
    this.path = `${DEVICES}/${this.address}`;
    if (files.list(this.path) === undefined) {
      throw new DmaBufError("ENODEV", "pci", `this machine has no ${this.address}`, {
        hint: "lspci -D lists what it has",
      });
    }
  }

  /** Name of the driver bound now; undefined where none is. */
  get driver(): string | undefined {
    return baseName(this.#files.link(`${this.path}/driver`));
  }

  /** What `driver_override` holds; undefined where nothing is set (the kernel shows "(null)"). */
  get override(): string | undefined {
    const text = this.attribute("driver_override");
    return text === undefined || text === "" || text === "(null)" ? undefined : text;
  }

  /** Number of the IOMMU group as text; undefined where no IOMMU is in use. */
  get iommuGroup(): string | undefined {
    return baseName(this.#files.link(`${this.path}/iommu_group`));
  }

  /** Functions of the same IOMMU group, this one included. */
  get groupMembers(): readonly string[] {
    return this.#files.list(`${this.path}/iommu_group/devices`) ?? [this.address];
  }

  /** `vfio3` where vfio-pci is bound and has a character device of its own (CONFIG_VFIO_DEVICE_CDEV). */
  get vfioCdev(): string | undefined {
    return this.#files.list(`${this.path}/vfio-dev`)?.find((name) => /^vfio\d+$/.test(name));
  }

  /** True for a bridge: vfio-pci takes endpoints alone. */
  get isBridge(): boolean {
    const classCode = this.attribute("class");
    return classCode !== undefined && Number(classCode) >> 16 === 0x06;
  }

  /** Virtual functions have a link to their physical one. */
  get isVirtual(): boolean {
    return this.#files.link(`${this.path}/physfn`) !== undefined;
  }

  /** Text of one attribute; undefined where there is none. */
  attribute(name: string): string | undefined {
    return this.#files.read(`${this.path}/${name}`)?.trim();
  }

  /** @throws DmaBufError with the errno of the attribute's store function. */
  setAttribute(name: string, text: string): void {
    this.#files.write(`${this.path}/${name}`, text);
  }
}

/** Last part of a link's target. */
function baseName(target: string | undefined): string | undefined {
  return target?.split("/").filter(Boolean).at(-1);
}
