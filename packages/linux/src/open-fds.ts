/** A file descriptor that this package opened and has not closed. */
export interface OpenFd {
  /** The descriptor. */
  readonly fd: number;
  /** What it is: the path, or `"eventfd"`, `"memfd NAME"`, `"VFIO_GROUP_GET_DEVICE_FD"`. */
  readonly what: string;
}

const table = new Map<number, OpenFd>();

/** Every descriptor that this process got through this package and still holds, by number. */
export function openFds(): readonly OpenFd[] {
  return [...table.values()].sort((a, b) => a.fd - b.fd);
}

/**
 * Enters a descriptor that an ioctl returned, so that {@link openFds} and the errors know it. Closing it takes it out.
 * Returns `fd`.
 */
export function adoptFd(fd: number, what: string): number {
  table.set(fd, { fd, what });
  return fd;
}

export function forgetFd(fd: number): void {
  table.delete(fd);
}

/** For messages: `fd 7 (/dev/iommu)`, or `fd 7` for one that is not ours. */
export function describeFd(fd: number): string {
  const known = table.get(fd);
  return known ? `fd ${fd} (${known.what})` : `fd ${fd}`;
}
