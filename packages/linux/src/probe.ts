import { readdirSync } from "node:fs";
import { constants } from "node:os";
import { DmaBufError, isDmaBufError } from "@peerbar/core";
import { close, O_RDONLY, O_RDWR, open } from "./file.js";
import { hintFor } from "./hint.js";
import { ioctl, ioctlStruct } from "./ioctl.js";
import { library } from "./library.js";
import { dmaHeap } from "./uapi/dma-heap.js";
import { iommufd } from "./uapi/iommufd.js";
import { iommufdTest } from "./uapi/iommufd-test.js";
import { udmabuf } from "./uapi/udmabuf.js";
import { vfioContainer } from "./uapi/vfio-container.js";

/** An entry point of the kernel. */
export type EntryPoint =
  | "ffi"
  | "iommufd"
  | "iommufd-map-file"
  | "iommufd-test"
  | "vfio-cdev"
  | "vfio-container"
  | "udmabuf"
  | "dma-heap"
  | "uverbs";

/** Whether an entry point works here, or why not and what to do about it. */
export type Probe =
  | { readonly name: EntryPoint; readonly available: true }
  | {
      readonly name: EntryPoint;
      readonly available: false;
      readonly reason: string;
      readonly hint: string | undefined;
    };

/**
 * Asks each entry point itself, by a call that changes nothing: no version is compared, no configuration read. Whether a device can
 * export a dma-buf is asked of the device (VFIO_DEVICE_FEATURE_PROBE). Never throws.
 *
 * @param dev where the device nodes are.
 */
export function probe(dev = "/dev"): readonly Probe[] {
  return (Object.keys(questions) as EntryPoint[]).map((name): Probe => {
    try {
      questions[name](dev);
      return { name, available: true };
    } catch (error) {
      const hint = isDmaBufError(error) ? error.hint : undefined;
      const reason = error instanceof Error ? error.message : String(error);
      return { name, available: false, reason, hint };
    }
  });
}

const questions: Readonly<Record<EntryPoint, (dev: string) => void>> = {
  ffi: () => {
    library("ffi");
  },
  iommufd: (dev) => {
    withFd(`${dev}/iommu`, O_RDWR, (fd) => {
      const { out } = ioctlStruct(fd, iommufd.IOMMU_IOAS_ALLOC);
      ioctlStruct(fd, iommufd.IOMMU_DESTROY, { id: out.out_ioas_id });
    });
  },
  // Flags that nobody knows are the first thing these check (iommufd M1), so a kernel that has the ioctl says EOPNOTSUPP.
  "iommufd-map-file": (dev) => {
    withFd(`${dev}/iommu`, O_RDWR, (fd) => {
      expectRefusal("EOPNOTSUPP", () =>
        ioctlStruct(fd, iommufd.IOMMU_IOAS_MAP_FILE, { flags: 0xffff_ffff, fd: -1 }),
      );
    });
  },
  "iommufd-test": (dev) => {
    withFd(`${dev}/iommu`, O_RDWR, (fd) => {
      const { IOMMU_TEST_OP_DMABUF_GET } = iommufdTest;
      expectRefusal("EOPNOTSUPP", () =>
        ioctlStruct(fd, IOMMU_TEST_OP_DMABUF_GET, { op: 0xffff_ffff }),
      );
    });
  },
  "vfio-cdev": (dev) => {
    const [first] = entries(`${dev}/vfio/devices`, "no device that is bound to vfio-pci has one");
    if (first === undefined) throw nothingIn(`${dev}/vfio/devices`);
  },
  "vfio-container": (dev) => {
    withFd(`${dev}/vfio/vfio`, O_RDWR, (fd) => {
      const { VFIO_GET_API_VERSION, VFIO_API_VERSION } = vfioContainer;
      const version = ioctl(fd, VFIO_GET_API_VERSION);
      if (version !== VFIO_API_VERSION)
        throw new DmaBufError("EPROTO", VFIO_GET_API_VERSION.name, `version ${version}`);
    });
  },
  udmabuf: (dev) => {
    withFd(`${dev}/udmabuf`, O_RDWR, (fd) => {
      // A list of no buffers: EINVAL of a driver that knows it.
      expectRefusal("EINVAL", () => ioctlStruct(fd, udmabuf.UDMABUF_CREATE_LIST, { count: 0 }));
    });
  },
  "dma-heap": (dev) => {
    const [first] = entries(`${dev}/dma_heap`, "no heap is registered");
    if (first === undefined) throw nothingIn(`${dev}/dma_heap`);
    withFd(`${dev}/dma_heap/${first}`, O_RDONLY, (fd) => {
      expectRefusal("EINVAL", () =>
        ioctlStruct(fd, dmaHeap.DMA_HEAP_IOCTL_ALLOC, { fd_flags: 0x100 }),
      );
    });
  },
  uverbs: (dev) => {
    const names = entries(`${dev}/infiniband`, "no RDMA device is registered");
    const name = names.find((entry) => entry.startsWith("uverbs"));
    if (name === undefined) throw nothingIn(`${dev}/infiniband`);
    withFd(`${dev}/infiniband/${name}`, O_RDWR, () => undefined);
  },
};

function withFd(path: string, flags: number, ask: (fd: number) => void): void {
  const fd = open(path, flags);
  try {
    ask(fd);
  } finally {
    close(fd);
  }
}

/** A refusal that only code which knows the request can give; every other answer is passed on. */
function expectRefusal(code: string, ask: () => unknown): void {
  try {
    ask();
  } catch (error) {
    if (isDmaBufError(error) && error.code === code) return;
    throw error;
  }
}

function entries(folder: string, meaning: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT")
      throw new DmaBufError("ENOENT", "openat", `${folder}: ${meaning}`, {
        hint: hintFor("openat", constants.errno.ENOENT, folder),
        cause,
      });
    throw cause;
  }
}

function nothingIn(folder: string): DmaBufError {
  return new DmaBufError("ENODEV", "openat", `${folder} is empty`, {
    hint: hintFor("openat", constants.errno.ENOENT, folder),
  });
}
