import { DmaBufError } from "@peerbar/core";
import { adoptFd, close, ioctl, ioctlStruct, open, vfioContainer } from "@peerbar/linux";
import type { PciSysfs } from "../sysfs/pci-sysfs.js";
import type { OpenedVfioFile } from "./opened-file.js";

/**
 * The way before iommufd: group, container, device (`/dev/vfio/N`, `/dev/vfio/vfio`). Export works on it; there is no address space to
 * import a dma-buf into.
 *
 * @throws DmaBufError ENODEV without an IOMMU group; EBUSY where the group is not viable or open elsewhere; EACCES; ENOENT.
 */
export function openFromGroup(sysfs: PciSysfs): OpenedVfioFile {
  const group = sysfs.iommuGroup;
  if (group === undefined) {
    throw new DmaBufError("ENODEV", "openat", `${sysfs.address} is in no IOMMU group`, {
      hint: "boot with intel_iommu=on or amd_iommu=on, and bind the device to vfio-pci",
    });
  }
  const opened: number[] = [];
  try {
    opened.push(open(`/dev/vfio/${group}`), open("/dev/vfio/vfio"));
    const [groupFd = -1, container = -1] = opened;
    joinContainer(sysfs, groupFd, container);
    const name = new TextEncoder().encode(`${sysfs.address}\0`);
    const fd = ioctl(groupFd, vfioContainer.VFIO_GROUP_GET_DEVICE_FD, name);
    opened.push(adoptFd(fd, `vfio device ${sysfs.address}`));
    return {
      fd,
      deviceId: undefined,
      close() {
        closeAll(opened);
      },
    };
  } catch (error) {
    closeAll(opened);
    throw error;
  }
}

function joinContainer(sysfs: PciSysfs, group: number, container: number): void {
  const { out } = ioctlStruct(group, vfioContainer.VFIO_GROUP_GET_STATUS);
  if ((out.flags & vfioContainer.VFIO_GROUP_FLAGS_VIABLE) === 0) {
    throw new DmaBufError(
      "EBUSY",
      "VFIO_GROUP_GET_STATUS",
      `group ${sysfs.iommuGroup ?? "?"} is not viable: another driver holds one of its functions`,
      { hint: `bind all of them to vfio-pci: ${sysfs.groupMembers.join(", ")}` },
    );
  }
  const pointer = new Uint8Array(Int32Array.of(container).buffer);
  ioctl(group, vfioContainer.VFIO_GROUP_SET_CONTAINER, pointer);
  ioctl(container, vfioContainer.VFIO_SET_IOMMU, vfioContainer.VFIO_TYPE1v2_IOMMU);
}

/** Last opened, first closed. */
function closeAll(fds: number[]): void {
  while (fds.length > 0) close(fds.pop() ?? -1);
}
