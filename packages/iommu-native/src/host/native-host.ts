import {
  asyncDispose,
  DmaBufError,
  type EventSink,
  type IommuBackend,
  isDmaBufError,
  type Scheduler,
} from "@peerbar/core";
import { ioctlStruct, vfio } from "@peerbar/linux";
import type { PciTopology } from "@peerbar/p2pdma";
import { liveTopology } from "@peerbar/p2pdma/node";
import { everyStep, everyStepAwaited } from "../every-step.js";
import { beforeExit } from "../exit-guard.js";
import { type AttachPoint, setAttachPoint } from "../iommufd/attach-point.js";
import { NativeIommu } from "../iommufd/native-iommu.js";
import { giveBack, type Recovery, recover, type TakeOptions, take } from "../sysfs/binding.js";
import { Journal } from "../sysfs/journal.js";
import { RootedFiles } from "../sysfs/kernel-files.js";
import { PciSysfs } from "../sysfs/pci-sysfs.js";
import { NativeVfioDevice } from "../vfio/native-vfio-device.js";
import { openCdev } from "../vfio/open-cdev.js";
import { openFromGroup } from "../vfio/open-group.js";
import type { OpenedVfioFile } from "../vfio/opened-file.js";
import { NativeFunction } from "./native-function.js";
import { NoIommufd } from "./no-iommufd.js";

/** How the host opens devices: through their own files and iommufd, or through group and container. */
export type VfioApi = "cdev" | "group";

/** What of the running kernel is used, and where its files are. */
export interface NativeHostOptions {
  /** `cdev` where /dev/iommu is there, else `group`. */
  readonly api?: VfioApi | undefined;
  /** Directory of the journal of taken devices. Default /run/peerbar. */
  readonly stateDirectory?: string | undefined;
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
}

/** A device that is open, and what closing it undoes. */
interface Opened {
  readonly device: NativeVfioDevice;
  readonly point: AttachPoint | undefined;
  /** The binding was changed for it. */
  readonly taken: boolean;
}

/**
 * The running machine: its functions, the devices opened on it, the kernel's IOMMU. The counterpart of `Machine` and `MockIommu` of the
 * simulated world. What was killed before is put back when it is made; everything it opens is closed, and every device back with its driver,
 * when it is closed, at exit and after SIGINT, SIGTERM, SIGHUP or an uncaught error.
 */
export class NativeHost implements AsyncDisposable {
  readonly api: VfioApi;
  /** Hands address spaces out; refuses to where the kernel has no iommufd. */
  readonly iommu: IommuBackend;
  /** Devices that an earlier process left behind, and what became of them. */
  readonly recovered: readonly Recovery[];
  readonly #options: NativeHostOptions;
  readonly #files = new RootedFiles();
  readonly #journal: Journal;
  readonly #native: NativeIommu | undefined;
  readonly #functions = new Map<string, NativeFunction>();
  readonly #opened = new Map<string, Opened>();
  readonly #forgetExit: () => void;
  #topology: PciTopology | undefined;
  #open = true;

  /** @throws DmaBufError ENOENT, EACCES where `api` is "cdev" and /dev/iommu cannot be opened. */
  constructor(options: NativeHostOptions = {}) {
    this.#options = options;
    this.#journal = new Journal(this.#files, options.stateDirectory);
    this.recovered = recover(this.#files, this.#journal);
    const { api = "cdev" } = options;
    const found = api === "cdev" ? openIommu(options.api !== undefined) : new NoIommufd();
    this.iommu = found;
    this.#native = found instanceof NativeIommu ? found : undefined;
    this.api = this.#native === undefined ? "group" : "cdev";
    this.#forgetExit = beforeExit(() => {
      this.#closeNow();
    });
  }

  /** PCI functions, host bridges, IOMMU groups as sysfs shows them; read once. */
  get topology(): PciTopology {
    this.#topology ??= liveTopology();
    return this.#topology;
  }

  /** @throws DmaBufError EINVAL for text that is no address, ENODEV where there is no such function. */
  function(address: string): NativeFunction {
    const sysfs = new PciSysfs(this.#files, address);
    const known = this.#functions.get(sysfs.address);
    if (known !== undefined) return known;
    const info = this.topology.get(sysfs.address);
    if (info === undefined) throw new DmaBufError("ENODEV", "pci", `${sysfs.address} is new here`);
    const fn = new NativeFunction(sysfs, info, () => this.#opened.get(sysfs.address)?.device);
    setAttachPoint(fn, () => this.#pointOf(sysfs));
    this.#functions.set(sysfs.address, fn);
    return fn;
  }

  /**
   * Takes the device from its driver, opens it through vfio and binds it to the host's iommufd. The same device again gives the same object.
   *
   * @throws DmaBufError EBUSY, EINVAL, ENODEV, EACCES: see {@link TakeOptions}; the device is with its driver then.
   */
  async open(
    device: string | { readonly pciAddress: string },
    options: TakeOptions = {},
  ): Promise<NativeVfioDevice> {
    // A promise, as on the simulated machine: binding may wait for whatever the old driver has to finish.
    await Promise.resolve();
    this.#assertOpen();
    const sysfs = new PciSysfs(
      this.#files,
      typeof device === "string" ? device : device.pciAddress,
    );
    const known = this.#opened.get(sysfs.address);
    if (known !== undefined) return known.device;
    const taken = take(this.#files, this.#journal, sysfs.address, options);
    try {
      return this.#enter(sysfs, taken);
    } catch (error) {
      if (taken) giveBack(this.#files, this.#journal, sysfs.address);
      throw error;
    }
  }

  /**
   * Devices first, so that importers are told and nothing is translated any more; then address spaces. An importer that throws when it is
   * told keeps nothing open: the first error is thrown when all is closed. Closing twice is harmless.
   */
  async close(): Promise<void> {
    if (!this.#open) return;
    const devices = [...this.#opened.values()].map(
      ({ device }) =>
        () =>
          device.close(),
    );
    await everyStepAwaited([
      ...devices,
      () => {
        this.#closeNow();
      },
      () => {
        this.#forgetExit();
      },
    ]);
  }

  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The device of an attach: opened here, or bound to vfio-pci already. */
  #pointOf(sysfs: PciSysfs): AttachPoint {
    if (this.#native === undefined) throw noIommufd("VFIO_DEVICE_ATTACH_IOMMUFD_PT");
    this.#assertOpen();
    if (this.#opened.get(sysfs.address) === undefined) this.#enter(sysfs, false);
    const point = this.#opened.get(sysfs.address)?.point;
    if (point === undefined) throw noIommufd("VFIO_DEVICE_ATTACH_IOMMUFD_PT");
    return point;
  }

  #enter(sysfs: PciSysfs, taken: boolean): NativeVfioDevice {
    const { scheduler, events } = this.#options;
    const native = this.#native;
    const file = native === undefined ? openFromGroup(sysfs) : openCdev(sysfs, native.file.fd);
    try {
      const device = new NativeVfioDevice({
        pciAddress: sysfs.address,
        fd: file.fd,
        isVirtual: sysfs.isVirtual,
        scheduler,
        events,
        close: () => {
          file.close();
          this.#left(sysfs.address);
        },
      });
      const point = native && attachPoint(native, file, () => device.isOpen);
      this.#opened.set(sysfs.address, { device, point, taken });
      return device;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** A device was closed: its driver gets it back. */
  #left(address: string): void {
    const opened = this.#opened.get(address);
    this.#opened.delete(address);
    if (opened?.point !== undefined) opened.point.place = undefined;
    if (opened?.taken === true) giveBack(this.#files, this.#journal, address);
  }

  #closeNow(): void {
    if (!this.#open) return;
    this.#open = false;
    const devices = [...this.#opened.values()].map(({ device }) => () => {
      device.closeNow();
    });
    everyStep([() => this.#native?.close(), ...devices]);
  }

  #assertOpen(): void {
    if (!this.#open) throw new DmaBufError("EBADF", "host", "the host is closed");
  }
}

/** @param required - false: a kernel without iommufd is no error; who asks for an address space is told why there is none. */
function openIommu(required: boolean): NativeIommu | NoIommufd {
  try {
    return new NativeIommu();
  } catch (error) {
    const isAbsent = isDmaBufError(error) && (error.code === "ENOENT" || error.code === "ENODEV");
    if (required || !isAbsent) throw error;
    return new NoIommufd(error);
  }
}

/** Undefined for a device that no iommufd has. */
function attachPoint(
  iommu: NativeIommu,
  { fd, deviceId }: OpenedVfioFile,
  isOpen: () => boolean,
): AttachPoint | undefined {
  if (deviceId === undefined) return undefined;
  return {
    file: iommu.file,
    id: deviceId,
    attach: (pt) => ioctlStruct(fd, vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT, { pt_id: pt }).out.pt_id,
    detach: () => {
      // Closing the file has detached it.
      if (isOpen()) ioctlStruct(fd, vfio.VFIO_DEVICE_DETACH_IOMMUFD_PT);
    },
  };
}

function noIommufd(syscall: string): DmaBufError {
  return new DmaBufError(
    "EOPNOTSUPP",
    syscall,
    "group and container have no page tables to attach to",
    {
      hint: "a kernel with CONFIG_IOMMUFD; export works without it",
    },
  );
}
