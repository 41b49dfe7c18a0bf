import type { EventSink, Scheduler } from "@peerbar/core";
import {
  adoptFd,
  close,
  F_ADD_SEALS,
  F_SEAL_SHRINK,
  fcntl,
  ioctl,
  memfdCreate,
  open,
  udmabuf,
} from "@peerbar/linux";
import { type Causes, explained } from "../explain.js";
import { NativeDmaBuf } from "./native-dma-buf.js";

/** How a buffer of ordinary memory is made. */
export interface MemoryBufferOptions {
  /** For events and listings. */
  readonly label?: string | undefined;
  readonly scheduler?: Scheduler | undefined;
  readonly events?: EventSink | undefined;
}

/**
 * A dma-buf of ordinary memory through /dev/udmabuf: for machines without a PCI device to share. iommufd refuses it (iommufd M13); other
 * drivers take it.
 *
 * @param size - bytes, whole pages; at most 64 MiB unless the module's `size_limit_mb` says otherwise.
 * @throws DmaBufError ENOENT or EACCES without the device node; EINVAL for the size (dma-buf R55).
 */
export function createUdmabuf(size: bigint, options: MemoryBufferOptions = {}): NativeDmaBuf {
  const device = open("/dev/udmabuf");
  let memory: number | undefined;
  try {
    memory = memfdCreate("peerbar", Number(size));
    // The driver takes only files that cannot become shorter under it (dma-buf R55).
    fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK);
    const request = udmabuf.UDMABUF_CREATE;
    const bytes = request.struct.encode({
      memfd: memory,
      flags: udmabuf.UDMABUF_FLAGS_CLOEXEC,
      offset: 0n,
      size,
    });
    const fd = explained(
      () => ioctl(device, request, bytes),
      () => sizeCauses,
    );
    return NativeDmaBuf.adopt(adoptFd(fd, "udmabuf"), { ...options, name: "udmabuf" });
  } finally {
    // The dma-buf keeps the pages.
    if (memory !== undefined) close(memory);
    close(device);
  }
}

const sizeCauses: Causes = {
  EINVAL: {
    reason: "the size is 0, not made of whole pages, or above the module's limit",
    hint: "whole pages, at most 64 MiB; or raise /sys/module/udmabuf/parameters/size_limit_mb",
    rule: "dma-buf R55",
  },
};
