import type { DmaBuf } from "./dma-buf.js";
import type { DmaDirection } from "./dma-device.js";
import { DmaBufError } from "./error.js";
import type { FdTable } from "./fd-table.js";
import type { SyncAccess } from "./sync-file.js";
import {
  DMA_BUF_IOCTL_EXPORT_SYNC_FILE,
  DMA_BUF_IOCTL_IMPORT_SYNC_FILE,
  DMA_BUF_IOCTL_SYNC,
  DMA_BUF_SET_NAME_A,
  DMA_BUF_SET_NAME_B,
  DMA_BUF_SYNC_END,
  DMA_BUF_SYNC_READ,
  DMA_BUF_SYNC_RW,
  DMA_BUF_SYNC_WRITE,
  NAME_BYTES,
} from "./uapi.js";
import type { WaitOptions } from "./wait.js";

/** How {@link ioctl} behaves beside its arguments. */
export interface IoctlOptions extends WaitOptions {
  /** False for a kernel without CONFIG_SYNC_FILE: export and import are ENOTTY there (dma-buf R47). */
  readonly syncFiles?: boolean | undefined;
}

/**
 * `ioctl` on a buffer's descriptor, byte for byte: the way of programs that speak to the kernel, and of tests that compare both.
 *
 * @param argument - The memory that the argument points to, little endian, written in place; too short or absent is a bad pointer.
 * @returns 0.
 * @throws DmaBufError EBADF; ENOTTY for other requests; EFAULT; EINVAL, EMFILE, EINTR as dma-buf R41 to R47 say.
 */
export async function ioctl(
  fds: FdTable,
  fd: number,
  request: number,
  argument: Uint8Array | undefined,
  options: IoctlOptions = {},
): Promise<0> {
  // The call keeps the file open for its own time, as fdget does.
  const file = fds.get(fd);
  try {
    await dispatch(fds, file.buffer, request, argument, options);
  } finally {
    file.put();
  }
  return 0;
}

async function dispatch(
  fds: FdTable,
  buffer: DmaBuf,
  request: number,
  argument: Uint8Array | undefined,
  options: IoctlOptions,
): Promise<void> {
  switch (request) {
    case DMA_BUF_IOCTL_SYNC:
      await sync(buffer, argument, options);
      return;
    case DMA_BUF_SET_NAME_A:
    case DMA_BUF_SET_NAME_B:
      buffer.setName(readName(argument));
      return;
    case DMA_BUF_IOCTL_EXPORT_SYNC_FILE:
    case DMA_BUF_IOCTL_IMPORT_SYNC_FILE:
      if (options.syncFiles === false) throw unknownRequest(request, "dma-buf R47");
      if (request === DMA_BUF_IOCTL_EXPORT_SYNC_FILE) exportSyncFile(fds, buffer, argument);
      else await importSyncFile(fds, buffer, argument, options);
      return;
    default:
      throw unknownRequest(request, "dma-buf R53");
  }
}

async function sync(
  buffer: DmaBuf,
  argument: Uint8Array | undefined,
  options: WaitOptions,
): Promise<void> {
  const memory = readable(argument, 8, "dmabuf.sync");
  const flags = memory.getBigUint64(0, true);
  const known = BigInt(DMA_BUF_SYNC_RW | DMA_BUF_SYNC_END);
  if ((flags & ~known) !== 0n) throw badFlags("dmabuf.sync", flags, "dma-buf R41");
  const direction = directionOf(Number(flags) & DMA_BUF_SYNC_RW);
  if (direction === undefined) throw badFlags("dmabuf.sync", flags, "dma-buf R41");
  if ((Number(flags) & DMA_BUF_SYNC_END) !== 0) await buffer.endCpuAccess(direction);
  else await buffer.beginCpuAccess(direction, options);
}

function exportSyncFile(fds: FdTable, buffer: DmaBuf, argument: Uint8Array | undefined): void {
  const memory = readable(argument, 8, "dmabuf.exportSyncFile");
  const access = accessOf(memory.getUint32(0, true), "dmabuf.exportSyncFile", "dma-buf R45");
  const fd = fds.reserve({ closeOnExec: true });
  const file = buffer.exportSyncFile(access);
  memory.setInt32(4, fd, true);
  fds.install(fd, file);
}

async function importSyncFile(
  fds: FdTable,
  buffer: DmaBuf,
  argument: Uint8Array | undefined,
  options: WaitOptions,
): Promise<void> {
  const memory = readable(argument, 8, "dmabuf.importSyncFile");
  const access = accessOf(memory.getUint32(0, true), "dmabuf.importSyncFile", "dma-buf R46");
  await buffer.importSyncFile(fds.syncFile(memory.getInt32(4, true)), access, options);
}

/** Reads up to the NUL; no NUL in the 32 bytes there is room for is EINVAL (dma-buf R44). */
function readName(argument: Uint8Array | undefined): string {
  if (argument === undefined) throw badPointer("dmabuf.setName");
  const end = argument.subarray(0, NAME_BYTES).indexOf(0);
  if (end >= 0) return decode(argument.subarray(0, end));
  if (argument.length < NAME_BYTES) throw badPointer("dmabuf.setName");
  throw new DmaBufError("EINVAL", "dmabuf.setName", `no NUL in ${String(NAME_BYTES)} bytes`, {
    rule: "dma-buf R44",
  });
}

/** UTF-8, or byte by byte where it is none: the kernel does not look. */
function decode(bytes: Uint8Array): string {
  const escaped = Array.from(bytes, (byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
  try {
    return decodeURIComponent(escaped);
  } catch {
    return String.fromCharCode(...bytes);
  }
}

function directionOf(flags: number): DmaDirection | undefined {
  switch (flags) {
    case DMA_BUF_SYNC_READ:
      return "from-device";
    case DMA_BUF_SYNC_WRITE:
      return "to-device";
    case DMA_BUF_SYNC_RW:
      return "bidirectional";
    default:
      return undefined;
  }
}

function accessOf(flags: number, syscall: string, rule: string): SyncAccess {
  switch (flags) {
    case DMA_BUF_SYNC_READ:
      return "read";
    case DMA_BUF_SYNC_WRITE:
      return "write";
    case DMA_BUF_SYNC_RW:
      return "rw";
    default:
      throw badFlags(syscall, BigInt(flags), rule);
  }
}

function readable(memory: Uint8Array | undefined, bytes: number, syscall: string): DataView {
  if (memory === undefined || memory.length < bytes) throw badPointer(syscall);
  return new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
}

function badPointer(syscall: string): DmaBufError {
  return new DmaBufError("EFAULT", syscall, "the argument cannot be read");
}

function badFlags(syscall: string, flags: bigint, rule: string): DmaBufError {
  return new DmaBufError("EINVAL", syscall, `flags 0x${flags.toString(16)}`, { rule });
}

function unknownRequest(request: number, rule: string): DmaBufError {
  return new DmaBufError("ENOTTY", "ioctl", `no request 0x${request.toString(16)}`, { rule });
}
