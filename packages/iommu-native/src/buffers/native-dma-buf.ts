import { readFileSync } from "node:fs";
import {
  type CpuMapping,
  DmaBuf,
  DmaBufError,
  type DmaDirection,
  dispose,
  type EventSink,
  PAGE_BYTES,
  type Scheduler,
  SEEK_END,
  type Slice,
  type SyncAccess,
  type SyncFile,
  type WaitOptions,
} from "@peerbar/core";
import { adoptFd, close, dmaBuf, ioctl, lseek, mmap } from "@peerbar/linux";
import { FdOps, type FdOpsParts } from "./fd-ops.js";
import { markKernelRevoked } from "./kernel-revoked.js";
import { NativeSyncFile } from "./native-sync-file.js";

/** How a kernel's buffer is wrapped. */
export interface NativeDmaBufOptions extends FdOpsParts {
  /** For events and listings; the exporter's name where absent. */
  readonly label?: string | undefined;
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
}

/** Exporters whose buffers the kernel takes back by itself, as fdinfo names them (vfio-pci-dmabuf R9, iommufd R31). */
const revocable = new Set(["vfio_pci_core", "iommufd"]);

/**
 * A dma-buf of the running kernel: core's buffer in this process, the kernel's behind `fd`. Names, CPU access, mmap, size and sync files
 * are the kernel's; attachments and references are those of this process, and the descriptor is closed after the last reference.
 * Importers get it by the interconnect `fd`.
 */
export class NativeDmaBuf extends DmaBuf {
  readonly #fd: number;

  /** Takes the descriptor over. @throws DmaBufError EINVAL where it is no dma-buf; it is still the caller's then. */
  constructor(options: NativeDmaBufOptions) {
    const { fd, name, label, scheduler, events, check, onRelease, cpuDirection } = options;
    const unmark = revocable.has(name) ? markKernelRevoked(fd) : undefined;
    const ops = new FdOps({
      name,
      fd,
      check,
      cpuDirection: name === "udmabuf" ? "bidirectional" : cpuDirection,
      onRelease: () => {
        unmark?.();
        onRelease?.();
      },
    });
    try {
      super({ ops, size: sizeOf(fd), name: label, scheduler, events });
    } catch (error) {
      unmark?.();
      throw error;
    }
    this.#fd = fd;
  }

  /** Owned by the buffer: do not close it. @throws DmaBufError EBADF once released: the number may be another file's by then. */
  get fd(): number {
    if (!this.released) return this.#fd;
    throw new DmaBufError("EBADF", "dmabuf", `${this.label} was released`);
  }

  /** A buffer over a descriptor that the kernel just made: closed where it cannot be wrapped. */
  static adopt(fd: number, options: Omit<NativeDmaBufOptions, "fd">): NativeDmaBuf {
    try {
      return new NativeDmaBuf({ ...options, fd });
    } catch (error) {
      close(fd);
      throw error;
    }
  }

  /**
   * A buffer that came from elsewhere: another process, a GPU driver. Takes the descriptor over.
   *
   * @throws DmaBufError EBADF, EINVAL where it is no dma-buf; it is still the caller's then.
   */
  static fromFd(fd: number, options: Omit<NativeDmaBufOptions, "fd" | "name"> = {}): NativeDmaBuf {
    const name = exporterOf(fd);
    if (name === undefined) {
      throw new DmaBufError("EINVAL", "dmabuf.fromFd", `fd ${String(fd)} is no dma-buf`, {
        rule: "dma-buf R5",
      });
    }
    const buffer = new NativeDmaBuf({ ...options, name, fd });
    adoptFd(fd, `dma-buf of ${name}`);
    return buffer;
  }

  /** `DMA_BUF_SET_NAME`: shown in fdinfo and /proc/PID/fd (dma-buf R44). @throws DmaBufError EINVAL for more than 31 bytes; EBADF after release. */
  override setName(name: string): void {
    const text = new TextEncoder().encode(name);
    // Room for what the kernel looks at: it must find the end of too long a name, not that of our memory.
    const bytes = new Uint8Array(Math.max(text.length + 1, dmaBuf.DMA_BUF_NAME_LEN));
    bytes.set(text);
    ioctl(this.fd, dmaBuf.DMA_BUF_SET_NAME_B, bytes);
    super.setName(name);
  }

  /** lseek(2) on the descriptor (dma-buf R49). @throws DmaBufError EINVAL for what the kernel refuses; EBADF after release. */
  override seek(offset: bigint, whence: number): bigint {
    return lseek(this.fd, offset, whence);
  }

  /** mmap(2) of the buffer; unmapped with the view (dma-buf R50). @throws DmaBufError the exporter's errno; as core's `mmap`. */
  override mmap({ offset, length }: Slice): CpuMapping {
    const reference = this.get();
    try {
      this.assertUnlocked("dmabuf.mmap");
      const mapping = mmap(this.fd, { offset, length: Number(length) });
      const size = (length + PAGE_BYTES - 1n) & ~(PAGE_BYTES - 1n);
      const { label: buffer, inode, events } = this;
      events?.emit({ type: "mmap", buffer, inode, size });
      let mapped = true;
      const unmap = (): void => {
        if (!mapped) return;
        mapping.unmap();
        reference.put();
        mapped = false;
        events?.emit({ type: "munmap", buffer, inode, size });
      };
      return { bytes: new Uint8Array(mapping.buffer), unmap, [dispose]: unmap };
    } catch (error) {
      reference.put();
      throw error;
    }
  }

  /**
   * `DMA_BUF_IOCTL_EXPORT_SYNC_FILE`: what an access must wait for, as a kernel file that the caller closes (dma-buf R45).
   *
   * @throws DmaBufError ENOTTY without CONFIG_SYNC_FILE (dma-buf R47); EMFILE; EBADF after release.
   */
  override exportSyncFile(access: SyncAccess): NativeSyncFile {
    return NativeSyncFile.export(this.fd, access, this.reservation.scheduler);
  }

  /**
   * `DMA_BUF_IOCTL_IMPORT_SYNC_FILE` for the kernel's files (dma-buf R46); fences of this process join its own reservation alone, which
   * the kernel does not see.
   */
  override async importSyncFile(
    file: SyncFile,
    access: SyncAccess,
    options?: WaitOptions,
  ): Promise<void> {
    if (file instanceof NativeSyncFile) file.importInto(this.fd, access);
    else await super.importSyncFile(file, access, options);
  }

  /** Runs `use` between begin and end of CPU access, whatever it throws. */
  async withCpuAccess<T>(direction: DmaDirection, use: () => T | Promise<T>): Promise<T> {
    await this.beginCpuAccess(direction);
    try {
      return await use();
    } finally {
      await this.endCpuAccess(direction);
    }
  }
}

/** Bytes of the buffer behind a descriptor (dma-buf R49). */
function sizeOf(fd: number): bigint {
  return lseek(fd, 0n, SEEK_END);
}

/** `exp_name` of fdinfo (dma-buf R51); undefined where the descriptor is no dma-buf. */
export function exporterOf(fd: number): string | undefined {
  try {
    const info = readFileSync(`/proc/self/fdinfo/${String(fd)}`, "utf8");
    return /^exp_name:\s*(\S+)/m.exec(info)?.[1];
  } catch {
    return undefined;
  }
}
