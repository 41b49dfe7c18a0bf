import { constants } from "node:os";

const { EPERM, ENOENT, EACCES, ENODEV, ENXIO, ENOTTY, EMFILE, ENOMEM, EBADF, EBUSY } =
  constants.errno;

interface Node {
  /** The path begins with it. */
  readonly prefix: string;
  /** What to do when it is not there. */
  readonly missing: string;
}

/** Device nodes and what makes them; the first that fits. */
const nodes: readonly Node[] = [
  {
    prefix: "/dev/iommu",
    missing: "modprobe iommufd; without the module the kernel lacks CONFIG_IOMMUFD",
  },
  {
    prefix: "/dev/vfio/devices/",
    missing:
      "bind the device to vfio-pci; if it is bound, the kernel lacks CONFIG_VFIO_DEVICE_CDEV: use its group",
  },
  {
    prefix: "/dev/vfio",
    missing: "modprobe vfio-pci, and bind the device to it; the kernel needs an IOMMU turned on",
  },
  {
    prefix: "/dev/udmabuf",
    missing: "modprobe udmabuf; without the module the kernel lacks CONFIG_UDMABUF",
  },
  {
    prefix: "/dev/dma_heap",
    missing: "modprobe system_heap; without the module the kernel lacks CONFIG_DMABUF_HEAPS_SYSTEM",
  },
  {
    prefix: "/dev/infiniband",
    missing: "modprobe ib_uverbs, and the driver of the RDMA device",
  },
];

/** The next step after `errno` of a call on `what` (a path, or what is said of a descriptor); undefined where nothing general helps. */
export function hintFor(syscall: string, errno: number, what: string): string | undefined {
  switch (errno) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return syscall === "openat"
        ? nodes.find(({ prefix }) => what.startsWith(prefix))?.missing
        : undefined;
    case EACCES:
    case EPERM:
      return privilege(syscall, what);
    case ENOTTY:
      return `the kernel, or the driver behind ${what}, does not know ${syscall}: a newer kernel or another option is needed`;
    case EMFILE:
      return "close descriptors, or raise the limit: ulimit -n";
    case ENOMEM:
      return "free memory, or raise the limit of locked memory: ulimit -l";
    case EBADF:
      return "it is closed already, or was opened without this right";
    case EBUSY:
      return syscall === "openat" ? `another process holds it: fuser -v ${what}` : undefined;
    default:
      return undefined;
  }
}

function privilege(syscall: string, what: string): string {
  if (syscall === "openat")
    return `run as root, or give your user the node: a udev rule, or chown $USER ${what}`;
  return `${syscall} on ${what} needs more privilege: run as root (CAP_SYS_ADMIN, CAP_IPC_LOCK), or raise ulimit -l`;
}
