import { DmaBufError } from "@peerbar/core";
import { failure, lastErrno } from "./errno.js";
import { hintFor } from "./hint.js";
import { libc } from "./libc.js";
import { adoptFd, describeFd, forgetFd } from "./open-fds.js";

/** Flags of open(2) and its relatives that are used here; the generic values, as on x86; O_DIRECTORY and the like differ elsewhere. */
export const O_RDONLY = 0;
/** `open`: for writing. */
export const O_WRONLY = 1;
/** `open`: for reading and writing. */
export const O_RDWR = 2;
/** `open`, `fcntl`: calls do not wait. */
export const O_NONBLOCK = 0o4000;
/** `open`: closed on exec. */
export const O_CLOEXEC = 0o2000000;

/** fcntl commands. */
export const F_GETFD = 1;
/** `fcntl`: sets descriptor flags ({@link FD_CLOEXEC}). */
export const F_SETFD = 2;
/** `fcntl`: the status flags. */
export const F_GETFL = 3;
/** `fcntl`: sets status flags. */
export const F_SETFL = 4;
/** `fcntl`: a copy of the descriptor that is closed on exec. */
export const F_DUPFD_CLOEXEC = 1030;
/** Descriptor flag: closed on exec. */
export const FD_CLOEXEC = 1;

/**
 * open(2), always close-on-exec. The caller closes it with {@link close}.
 * @throws DmaBufError with the errno of openat; the hint names the module or the privilege.
 */
export function open(path: string, flags: number = O_RDWR, mode = 0o600): number {
  const fd = libc("openat").open(path, flags | O_CLOEXEC, mode);
  if (fd >= 0) return adoptFd(fd, path);
  const errno = lastErrno("openat");
  throw failure("openat", errno, { what: path, hint: hintFor("openat", errno, path) });
}

/**
 * close(2). The descriptor is gone afterwards, whatever close says, as Linux frees it first.
 * @throws DmaBufError EBADF: not open. EIO and others: as the file's flush says.
 */
export function close(fd: number): void {
  const what = describeFd(fd);
  forgetFd(fd);
  if (libc("close").close(fd) === 0) return;
  throw failure("close", lastErrno("close"), { what });
}

/**
 * pread(2): fills `into` from byte `offset` of the file; returns how many bytes came, fewer at the end of the file.
 * @throws DmaBufError with the errno of pread64.
 */
export function pread(fd: number, into: Uint8Array, offset: number | bigint): number {
  const at = fileOffset("pread64", offset);
  return count("pread64", fd, libc("pread64").pread(fd, into, into.byteLength, at));
}

/**
 * pwrite(2): returns how many bytes were taken.
 * @throws DmaBufError with the errno of pwrite64.
 */
export function pwrite(fd: number, from: Uint8Array, offset: number | bigint): number {
  const at = fileOffset("pwrite64", offset);
  return count("pwrite64", fd, libc("pwrite64").pwrite(fd, from, from.byteLength, at));
}

/** read(2) at the file's own position. @throws DmaBufError with the errno of read. */
export function read(fd: number, into: Uint8Array): number {
  return count("read", fd, libc("read").read(fd, into, into.byteLength));
}

/** write(2) at the file's own position. @throws DmaBufError with the errno of write. */
export function write(fd: number, from: Uint8Array): number {
  return count("write", fd, libc("write").write(fd, from, from.byteLength));
}

/** lseek(2); a dma-buf knows SEEK_END and SEEK_SET with offset 0. @throws DmaBufError with the errno of lseek. */
export function lseek(fd: number, offset: number | bigint, whence: number): bigint {
  const at = fileOffset("lseek", offset);
  const position = BigInt(libc("lseek").lseek(fd, at, whence));
  if (position < 0n) throw failed("lseek", fd);
  return position;
}

/** fcntl(2) with an integer argument. A descriptor that F_DUPFD_CLOEXEC makes is entered in the table. */
export function fcntl(fd: number, command: number, arg = 0): number {
  const result = count("fcntl", fd, libc("fcntl").fcntl(fd, command, arg));
  return command === F_DUPFD_CLOEXEC ? adoptFd(result, `copy of ${describeFd(fd)}`) : result;
}

/** ftruncate(2), bytes. @throws DmaBufError with the errno of ftruncate. */
export function ftruncate(fd: number, length: number): void {
  count("ftruncate", fd, libc("ftruncate").ftruncate(fd, length));
}

function failed(syscall: string, fd: number): DmaBufError {
  const errno = lastErrno(syscall);
  const what = describeFd(fd);
  return failure(syscall, errno, { what, hint: hintFor(syscall, errno, what) });
}

function count(syscall: string, fd: number, result: number): number {
  if (result < 0) throw failed(syscall, fd);
  return result;
}

function fileOffset(syscall: string, offset: number | bigint): number {
  const at = Number(offset);
  if (!Number.isSafeInteger(at))
    throw new DmaBufError(
      "EINVAL",
      syscall,
      `offset ${String(offset)} is not an integer below 2^53`,
    );
  return at;
}
