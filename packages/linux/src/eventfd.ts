import { failure, lastErrno } from "./errno.js";
import { O_CLOEXEC, O_NONBLOCK, read, write } from "./file.js";
import { libc } from "./libc.js";
import { adoptFd } from "./open-fds.js";

/** eventfd2(2), non-blocking: a counter that a kernel side signals (vfio interrupts) and poll sees. The caller closes it. */
export function eventfd(initial = 0): number {
  const fd = libc("eventfd2").eventfd(initial, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw failure("eventfd2", lastErrno("eventfd2"), { what: `initial ${initial}` });
  return adoptFd(fd, "eventfd");
}

/** Takes the counter and resets it. @throws DmaBufError EAGAIN: it is 0. */
export function readEventfd(fd: number): bigint {
  const bytes = new Uint8Array(8);
  read(fd, bytes);
  return new DataView(bytes.buffer).getBigUint64(0, true);
}

/** Adds to the counter. @throws DmaBufError EAGAIN: it would overflow; EINVAL: 2^64-1. */
export function writeEventfd(fd: number, add = 1n): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, add, true);
  write(fd, bytes);
}
