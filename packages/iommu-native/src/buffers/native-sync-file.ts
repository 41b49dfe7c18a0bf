import { DmaBufError, dispose, type Scheduler, type SyncAccess, SyncFile } from "@peerbar/core";
import { adoptFd, dmaBuf, ioctl } from "@peerbar/linux";
import { type Causes, explained } from "../explain.js";
import { KernelFence } from "./kernel-fence.js";

/** A sync_file of the kernel: fences as a descriptor. The caller closes it; closing twice is harmless. */
export class NativeSyncFile extends SyncFile implements Disposable {
  readonly #asked: KernelFence;
  readonly #fd: number;
  #open = true;

  /** Takes the descriptor over. @param scheduler - whose time the deadlines of waits are in; the default one where absent. */
  constructor(fd: number, scheduler?: Scheduler) {
    const fence = new KernelFence(fd, scheduler);
    super(fence);
    this.#asked = fence;
    this.#fd = fd;
  }

  /** Owned. @throws DmaBufError EBADF once closed: the number may be another file's by then. */
  get fd(): number {
    if (this.#open) return this.#fd;
    throw new DmaBufError("EBADF", "sync_file", "this sync_file is closed");
  }

  /** @internal `DMA_BUF_IOCTL_EXPORT_SYNC_FILE`. */
  static export(buffer: number, access: SyncAccess, scheduler: Scheduler): NativeSyncFile {
    const request = dmaBuf.DMA_BUF_IOCTL_EXPORT_SYNC_FILE;
    const bytes = request.struct.encode({ flags: syncFlags[access], fd: -1 });
    explained(
      () => ioctl(buffer, request, bytes),
      () => syncFileCauses,
    );
    return new NativeSyncFile(adoptFd(request.struct.decode(bytes).fd, "sync_file"), scheduler);
  }

  /** @internal `DMA_BUF_IOCTL_IMPORT_SYNC_FILE`. */
  importInto(buffer: number, access: SyncAccess): void {
    const request = dmaBuf.DMA_BUF_IOCTL_IMPORT_SYNC_FILE;
    const bytes = request.struct.encode({ flags: syncFlags[access], fd: this.fd });
    explained(
      () => ioctl(buffer, request, bytes),
      () => syncFileCauses,
    );
  }

  /** Gives the descriptor up; a pending fence keeps it until it signals, so that it can still be waited for. Twice is harmless. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#asked.takeOver();
  }

  [dispose](): void {
    this.close();
  }
}

const syncFlags: Readonly<Record<SyncAccess, number>> = {
  read: dmaBuf.DMA_BUF_SYNC_READ,
  write: dmaBuf.DMA_BUF_SYNC_WRITE,
  rw: dmaBuf.DMA_BUF_SYNC_RW,
};

const syncFileCauses: Causes = {
  ENOTTY: {
    reason: "this kernel has no sync files",
    hint: "a kernel with CONFIG_SYNC_FILE",
    rule: "dma-buf R47",
  },
  EINVAL: {
    reason: "the descriptor is no sync_file, or the access none",
    rule: "dma-buf R45, R46",
  },
};
