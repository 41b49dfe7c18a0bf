import { failure, lastErrno } from "./errno.js";
import { close, ftruncate } from "./file.js";
import { libc } from "./libc.js";
import { adoptFd } from "./open-fds.js";

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;

/** fcntl commands of sealing; udmabuf wants F_SEAL_SHRINK and refuses F_SEAL_WRITE. */
export const F_ADD_SEALS = 1033;
/** `fcntl` of a memfd: its seals. */
export const F_GET_SEALS = 1034;
/** Seal: the file never shrinks; udmabuf asks for it. */
export const F_SEAL_SHRINK = 2;
/** Seal: the file is never written; udmabuf refuses it. */
export const F_SEAL_WRITE = 8;

/** memfd_create(2): a file in memory of `length` bytes, zeroed, that may be sealed. The caller closes it. */
export function memfdCreate(name: string, length: number): number {
  const fd = libc("memfd_create").memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw failure("memfd_create", lastErrno("memfd_create"), { what: name });
  adoptFd(fd, `memfd ${name}`);
  try {
    ftruncate(fd, length);
  } catch (error) {
    close(fd);
    throw error;
  }
  return fd;
}
