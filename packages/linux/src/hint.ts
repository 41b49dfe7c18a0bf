import { constants } from "node:os";

const { EPERM, ENOENT, EACCES, ENODEV, ENXIO, ENOTTY, EMFILE, ENOMEM, EBADF, EBUSY } =
  constants.errno;

interface Node {
  /** The path has it. */
  readonly part: string;
  /** What to do when it is not there. */
  readonly missing: string;
}

/** Device nodes and what makes them; the first that fits. */
const nodes: readonly Node[] = [
  {
    part: "/iommu",
    missing: "modprobe iommufd; without the module the kernel lacks CONFIG_IOMMUFD",
  },
  {
    part: "/vfio/devices",
    missing:
      "bind the device to vfio-pci; if it is bound, the kernel lacks CONFIG_VFIO_DEVICE_CDEV: use its group",
  },
  {
    part: "/vfio/",
    missing: "modprobe vfio-pci, and bind the device to it; the kernel needs an IOMMU turned on",
  },
  {
    part: "/udmabuf",
    missing: "modprobe udmabuf; without the module the kernel lacks CONFIG_UDMABUF",
  },
  {
    part: "/dma_heap",
    missing: "modprobe system_heap; without the module the kernel lacks CONFIG_DMABUF_HEAPS_SYSTEM",
  },
  {
    part: "/infiniband",
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
        ? nodes.find(({ part }) => what.includes(part))?.missing
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
