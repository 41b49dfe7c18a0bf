import {
  DmaBufError,
  dispose,
  type Fence,
  POLLIN,
  type SyncAccess,
  SyncFile,
  type WaitOptions,
} from "@peerbar/core";
import { adoptFd, close, dmaBuf, ioctl, poll, pollAsync } from "@peerbar/linux";
import { type Causes, explained } from "../explain.js";

/** Milliseconds of one sleep in poll(2): how late a wait notices that it was given up. */
const SLICE_MS = 50;

/** A sync_file of the kernel: fences as a descriptor. The caller closes it; closing twice is harmless. */
export class NativeSyncFile extends SyncFile implements Disposable {
  /** Owned. */
  readonly fd: number;
  #open = true;

  /** Takes the descriptor over. */
  constructor(fd: number) {
    super(new KernelFence(fd));
    this.fd = fd;
  }

  /** @internal `DMA_BUF_IOCTL_EXPORT_SYNC_FILE`. */
  static export(buffer: number, access: SyncAccess): NativeSyncFile {
    const request = dmaBuf.DMA_BUF_IOCTL_EXPORT_SYNC_FILE;
    const bytes = request.struct.encode({ flags: syncFlags[access], fd: -1 });
    explained(
      () => ioctl(buffer, request, bytes),
      () => syncFileCauses,
    );
    return new NativeSyncFile(adoptFd(request.struct.decode(bytes).fd, "sync_file"));
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

  /** Closes the descriptor; the fence lives on in the kernel. Twice is harmless. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    close(this.fd);
  }

  [dispose](): void {
    this.close();
  }
}

/** The kernel's fence behind a sync_file: asked with poll(2). */
class KernelFence implements Fence {
  readonly name: string;
  /** The kernel's own numbers are not shown to user space. */
  readonly context = 0;
  readonly seqno: number;
  readonly error = undefined;
  readonly parts = undefined;
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
    this.seqno = fd;
    this.name = `sync_file:${String(fd)}`;
  }

  get signaled(): boolean {
    const [ready = 0] = poll([{ fd: this.#fd, events: POLLIN }]);
    return (ready & POLLIN) !== 0;
  }

  onSignal(callback: () => void): () => void {
    let wanted = true;
    void this.#until(() => !wanted).then((signaled) => {
      if (signaled && wanted) callback();
    });
    return () => {
      wanted = false;
    };
  }

  async wait(options: WaitOptions = {}): Promise<void> {
    const { signal } = options;
    if (await this.#until(() => signal?.aborted === true)) return;
    throw new DmaBufError("EINTR", "fence.wait", `gave up waiting for ${this.name}`);
  }

  /** True once signalled, false once given up. The sleep is in the kernel, in slices. */
  async #until(givenUp: () => boolean): Promise<boolean> {
    while (!givenUp()) {
      const [ready = 0] = await pollAsync([{ fd: this.#fd, events: POLLIN }], SLICE_MS);
      if ((ready & POLLIN) !== 0) return true;
    }
    return false;
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
