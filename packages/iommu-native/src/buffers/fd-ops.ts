import {
  type Attachment,
  DmaBufError,
  type DmaDirection,
  type ExporterOps,
  type Held,
  type InterconnectName,
  type Interconnects,
  type OpenInterconnectName,
  type ScatterTable,
} from "@peerbar/core";
import { close, dmaBuf, ioctlAsync } from "@peerbar/linux";

/** What an exporter of descriptors is made of. */
export interface FdOpsParts {
  /** As fdinfo names it: `udmabuf`. */
  readonly name: string;
  /** Owned: closed at release. */
  readonly fd: number;
  /** Before each attach and each open: throws where the kernel would refuse. */
  readonly check?: ((attachment: Attachment, operation: "attach" | "open") => void) | undefined;
  /**
   * The direction of every CPU access, whatever is asked for. For udmabuf: it maps its pages for the direction of the first access and
   * syncs them in that of each later one, which the kernel's DMA debugging warns about.
   */
  readonly cpuDirection?: DmaDirection | undefined;
  /** Before the descriptor is closed. */
  readonly onRelease?: (() => void) | undefined;
}

/**
 * The exporter's side of a buffer that lives in the kernel: it offers the descriptor and nothing else. The kernel's importers attach and
 * map behind it; user space is never handed a scatterlist.
 */
export class FdOps implements ExporterOps {
  readonly name: string;
  readonly fd: number;
  readonly #parts: FdOpsParts;

  constructor(parts: FdOpsParts) {
    this.name = parts.name;
    this.fd = parts.fd;
    this.#parts = parts;
  }

  offers(_attachment: Attachment): readonly InterconnectName[] {
    return ["fd"];
  }

  attach(attachment: Attachment): void {
    this.#parts.check?.(attachment, "attach");
  }

  open<N extends OpenInterconnectName>(
    attachment: Attachment,
    _name: N,
    _held: Held,
  ): Interconnects[N] {
    this.#parts.check?.(attachment, "open");
    // `fd` is all it offers, so N is "fd".
    return this.fd as Interconnects[N];
  }

  map(attachment: Attachment, _direction: DmaDirection, _held: Held): ScatterTable {
    throw new DmaBufError("EOPNOTSUPP", "dmabuf.map", `${this.name} maps in the kernel alone`, {
      hint: `hand the descriptor to a kernel importer: ${attachment.device.name} must accept "fd"`,
      rule: "dma-buf R21",
    });
  }

  unmap(): void {
    throw new DmaBufError("EINVAL", "dmabuf.unmap", "nothing is ever mapped here", {
      rule: "dma-buf R25",
    });
  }

  /** `DMA_BUF_IOCTL_SYNC`: waits in the kernel, off the main thread (dma-buf R42). */
  async beginCpuAccess(direction: DmaDirection): Promise<void> {
    await this.#sync(dmaBuf.DMA_BUF_SYNC_START, direction);
  }

  async endCpuAccess(direction: DmaDirection): Promise<void> {
    await this.#sync(dmaBuf.DMA_BUF_SYNC_END, direction);
  }

  release(): void {
    this.#parts.onRelease?.();
    close(this.fd);
  }

  async #sync(phase: number, direction: DmaDirection): Promise<void> {
    const request = dmaBuf.DMA_BUF_IOCTL_SYNC;
    const flags = BigInt(phase | syncFlags[this.#parts.cpuDirection ?? direction]);
    await ioctlAsync(this.fd, request, request.struct.encode({ flags }));
  }
}

/** The CPU's view: reading is what came from the device (dma-buf R41). */
const syncFlags: Readonly<Record<DmaDirection, number>> = {
  "from-device": 1,
  "to-device": 2,
  bidirectional: 3,
};
