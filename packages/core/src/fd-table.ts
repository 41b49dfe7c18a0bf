import { dispose } from "./dispose.js";
import { DmaBuf } from "./dma-buf.js";
import { DmaBufError, ProtocolViolation } from "./error.js";
import type { DmaBufReference } from "./reference.js";
import { fdinfo } from "./registry.js";
import { SyncFile } from "./sync-file.js";

/** A file that is neither a buffer nor a sync file: sockets, memfds, what third parties bring. */
export interface OtherFile {
  readonly description: string;
}

/** What a descriptor can stand for. */
export type OpenFile = DmaBufReference | SyncFile | OtherFile;

/** What a {@link FdTable} may be given. */
export interface FdTableOptions {
  /** Descriptors at most (RLIMIT_NOFILE); 1024 where absent. */
  readonly limit?: number | undefined;
}

/** Flags of a new descriptor. */
export interface FdFlags {
  /** O_CLOEXEC: gone at `exec`. */
  readonly closeOnExec?: boolean | undefined;
}

interface Slot {
  /** Undefined while the number is only reserved. */
  readonly file: OpenFile | undefined;
  readonly closeOnExec: boolean;
}

/**
 * The descriptors of one process: numbers that stand for buffers and sync files. The lowest free number is taken; every descriptor of
 * a buffer owns one reference. Disposing closes all of them.
 */
export class FdTable implements Disposable {
  /** Descriptors at most. */
  readonly limit: number;
  readonly #slots: (Slot | undefined)[] = [];

  /** @throws DmaBufError EINVAL where the limit (1024 where absent) is no whole number of descriptors */
  constructor(options: FdTableOptions = {}) {
    const limit = options.limit ?? 1024;
    if (!Number.isSafeInteger(limit) || limit < 0) {
      throw new DmaBufError("EINVAL", "fdtable", `a limit of ${String(limit)}`);
    }
    this.limit = limit;
  }

  /** Numbers that are open, in order; reserved ones are not. */
  get open(): readonly number[] {
    return this.#slots.flatMap((slot, fd) => (slot?.file === undefined ? [] : [fd]));
  }

  /**
   * `dma_buf_fd`: a descriptor that owns the reference given from now on (a buffer gives its creator's). Where it throws the caller
   * still owns the reference and must put it (dma-buf R3).
   *
   * @throws DmaBufError EINVAL without a buffer; EMFILE at the limit; EBADF for a reference that is spent.
   */
  fd(source: DmaBuf | DmaBufReference | undefined, flags?: FdFlags): number {
    if (source === undefined) {
      throw new DmaBufError("EINVAL", "dmabuf.fd", "no buffer", { rule: "dma-buf R3" });
    }
    const fd = this.reserve(flags);
    try {
      this.install(fd, source);
    } catch (error) {
      this.unreserve(fd);
      throw error;
    }
    return fd;
  }

  /** `get_unused_fd_flags`: the lowest free number, not open yet. @throws DmaBufError EMFILE at the limit. */
  reserve(flags?: FdFlags): number {
    const free = this.#slots.indexOf(undefined);
    const fd = free < 0 ? this.#slots.length : free;
    if (fd >= this.limit) {
      throw new DmaBufError("EMFILE", "fdtable", `${String(this.limit)} descriptors are in use`, {
        hint: "close some, or raise the limit",
      });
    }
    this.#slots[fd] = { file: undefined, closeOnExec: flags?.closeOnExec ?? false };
    return fd;
  }

  /** `put_unused_fd`. @throws ProtocolViolation for a number that is open or free. */
  unreserve(fd: number): void {
    this.#reserved(fd, "fdtable.unreserve");
    this.#free(fd);
  }

  /**
   * `dma_buf_fd_install`: publishes a reserved number; the reference is the descriptor's from now on. Cannot be taken back, so it comes
   * after everything that may fail (dma-buf R4).
   *
   * @throws ProtocolViolation for a number that is not reserved; DmaBufError EBADF for a reference that is spent: still reserved then.
   */
  install(fd: number, source: DmaBuf | OpenFile): void {
    const { closeOnExec } = this.#reserved(fd, "fdtable.install");
    const file = source instanceof DmaBuf || "move" in source ? source.move() : source;
    this.#slots[fd] = { file, closeOnExec };
  }

  /**
   * `dma_buf_get`: one more reference to the buffer behind a descriptor.
   *
   * @throws DmaBufError EBADF where nothing is open, EINVAL where it is no buffer (dma-buf R5).
   */
  get(fd: number): DmaBufReference {
    return this.#buffer(fd, "dmabuf.get").get();
  }

  /** The sync file behind a descriptor. @throws DmaBufError EINVAL where there is none (dma-buf R46). */
  syncFile(fd: number): SyncFile {
    const file = this.#slots[fd]?.file;
    if (file instanceof SyncFile) return file;
    throw new DmaBufError("EINVAL", "fdtable.syncFile", `${String(fd)} is no sync file`, {
      rule: "dma-buf R46",
    });
  }

  /** `dup`: another number for the same file, with a reference of its own. @throws DmaBufError EBADF, EMFILE. */
  dup(fd: number, flags?: FdFlags): number {
    const { file } = this.#slot(fd, "dup");
    const copy = this.reserve(flags);
    this.install(copy, "move" in file ? file.buffer.get() : file);
    return copy;
  }

  /**
   * Closes one number; the last reference of a buffer may go with it.
   *
   * @throws DmaBufError EBADF where nothing is open; ProtocolViolation as {@link DmaBufReference.put}: still open then.
   */
  close(fd: number): void {
    const { file } = this.#slot(fd, "close");
    if ("move" in file) file.put();
    this.#free(fd);
  }

  /** True where `exec` would close it. @throws DmaBufError EBADF. */
  isCloseOnExec(fd: number): boolean {
    return this.#slot(fd, "fcntl").closeOnExec;
  }

  /** Text of `/proc/self/fdinfo/FD`, the buffer's own lines (dma-buf R51). @throws DmaBufError EBADF, EINVAL. */
  fdinfo(fd: number): string {
    return fdinfo(this.#buffer(fd, "fdinfo"));
  }

  /** Where `/proc/self/fd/FD` points to: `/dmabuf:NAME` (dma-buf R44). @throws DmaBufError EBADF, EINVAL. */
  readlink(fd: number): string {
    return `/dmabuf:${this.#buffer(fd, "readlink").name ?? ""}`;
  }

  /** The buffer behind a descriptor, without a reference: valid while the descriptor stays open. @throws as {@link get}. */
  peek(fd: number): DmaBuf {
    return this.#buffer(fd, "fdtable");
  }

  /** Closes everything; reserved numbers are given back. @throws as {@link close}, after the others are closed. */
  [dispose](): void {
    let first: { readonly error: unknown } | undefined;
    for (const [fd, slot] of this.#slots.entries()) {
      if (slot === undefined) continue;
      try {
        if (slot.file === undefined) this.#free(fd);
        else this.close(fd);
      } catch (error) {
        first ??= { error };
      }
    }
    if (first !== undefined) throw first.error;
  }

  #buffer(fd: number, syscall: string): DmaBuf {
    const { file } = this.#slot(fd, syscall);
    if ("move" in file) return file.buffer;
    throw new DmaBufError("EINVAL", syscall, `${String(fd)} is no dma-buf`, { rule: "dma-buf R5" });
  }

  #slot(fd: number, syscall: string): { readonly file: OpenFile; readonly closeOnExec: boolean } {
    const slot = this.#slots[fd];
    if (slot?.file === undefined) {
      throw new DmaBufError("EBADF", syscall, `${String(fd)} is not open`, { rule: "dma-buf R5" });
    }
    return { file: slot.file, closeOnExec: slot.closeOnExec };
  }

  #reserved(fd: number, syscall: string): Slot {
    const slot = this.#slots[fd];
    if (slot === undefined || slot.file !== undefined) {
      throw new ProtocolViolation("dma-buf R4", syscall, `${String(fd)} is not reserved`);
    }
    return slot;
  }

  #free(fd: number): void {
    this.#slots[fd] = undefined;
  }
}
