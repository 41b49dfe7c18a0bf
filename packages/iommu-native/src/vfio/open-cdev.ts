import { DmaBufError } from "@peerbar/core";
import { close, ioctlStruct, open, vfio } from "@peerbar/linux";
import { type Causes, explained } from "../explain.js";
import type { PciSysfs } from "../sysfs/pci-sysfs.js";
import type { OpenedVfioFile } from "./opened-file.js";

/**
 * Opens the device's own character device and binds it to an iommufd (iommufd section 6).
 *
 * @throws DmaBufError ENODEV where vfio-pci is not bound or the kernel has no device files; EBUSY where its group is in use; EACCES.
 */
export function openCdev(sysfs: PciSysfs, iommufd: number): OpenedVfioFile {
  const name = sysfs.vfioCdev;
  if (name === undefined) throw noCdev(sysfs);
  const fd = open(`/dev/vfio/devices/${name}`);
  try {
    const { out } = explained(
      () => ioctlStruct(fd, vfio.VFIO_DEVICE_BIND_IOMMUFD, { iommufd }),
      () => bindCauses(sysfs),
    );
    return {
      fd,
      deviceId: out.out_devid,
      close() {
        close(fd);
      },
    };
  } catch (error) {
    close(fd);
    throw error;
  }
}

function noCdev(sysfs: PciSysfs): DmaBufError {
  const bound = sysfs.driver ?? "none";
  const isVfio = /vfio/.test(bound);
  return new DmaBufError(
    "ENODEV",
    "openat",
    isVfio
      ? `this kernel gives ${sysfs.address} no file of its own in /dev/vfio/devices`
      : `${sysfs.address} is bound to ${bound}, not to a vfio driver`,
    {
      hint: isVfio
        ? "a kernel with CONFIG_VFIO_DEVICE_CDEV and CONFIG_IOMMUFD, or the device's group"
        : "take the device first",
      rule: "iommufd section 6",
    },
  );
}

function bindCauses(sysfs: PciSysfs): Causes {
  return {
    EBUSY: {
      reason: `group ${sysfs.iommuGroup ?? "?"} of ${sysfs.address} is in use`,
      hint: `bind every function of the group to vfio-pci: ${sysfs.groupMembers.join(", ")}`,
      rule: "iommufd section 6",
    },
    EINVAL: {
      reason: `${sysfs.address} cannot be bound to an iommufd`,
      hint: "without an IOMMU only no-IOMMU mode is left: boot with intel_iommu=on or amd_iommu=on",
      rule: "iommufd section 6",
    },
    ENODEV: {
      reason: `${sysfs.address} cannot be bound to an iommufd`,
      hint: "without an IOMMU only no-IOMMU mode is left: boot with intel_iommu=on or amd_iommu=on",
      rule: "iommufd section 6",
    },
  };
}
