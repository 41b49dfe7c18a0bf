import { type Iova, iova, isDmaBufError, SEEK_END } from "@peerbar/core";
import { close, lseek, O_NONBLOCK, O_RDONLY, open, read } from "@peerbar/linux";

/** A DMA that the hardware stopped, as the IOMMU driver reported it. */
export interface IommuFault {
  /** PCI address of the device that asked. */
  readonly device: string;
  /** Address that was asked for, in bytes. */
  readonly iova: Iova;
  /** Undefined where the driver does not say. */
  readonly access: "r" | "w" | undefined;
  /** The kernel's own line. */
  readonly text: string;
}

/** One record of /dev/kmsg is at most this long. */
const RECORD_BYTES = 8192;

/**
 * Reads DMA faults from the kernel log, from the moment it is made. The kernel limits how many it prints (ten in five seconds for VT-d), so
 * silence is no proof that there was none.
 */
export class FaultLog implements Disposable {
  readonly #fd: number;
  readonly #record = new Uint8Array(RECORD_BYTES);
  #open = true;

  /** @throws DmaBufError EACCES, EPERM: reading the kernel log takes root, or CAP_SYSLOG. */
  constructor() {
    this.#fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
    lseek(this.#fd, 0n, SEEK_END);
  }

  /** Faults since the last call, in order. */
  take(): readonly IommuFault[] {
    const faults: IommuFault[] = [];
    for (let line = this.#next(); line !== undefined; line = this.#next()) {
      const fault = parseFault(line);
      if (fault !== undefined) faults.push(fault);
    }
    return faults;
  }

  /** Stops listening to the kernel log. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    close(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The next record; undefined where there is none yet. */
  #next(): string | undefined {
    for (;;) {
      try {
        const length = read(this.#fd, this.#record);
        return new TextDecoder().decode(this.#record.subarray(0, length));
      } catch (error) {
        if (isDmaBufError(error) && error.code === "EAGAIN") return undefined;
        // EPIPE: records were overwritten before they were read; the next read goes on behind them.
        if (isDmaBufError(error) && error.code === "EPIPE") continue;
        throw error;
      }
    }
  }
}

const VTD =
  /DMAR: \[DMA (?<kind>Read|Write)[^\]]*\] Request device \[(?<device>[0-9a-f:.]+)\] fault addr (?<address>0x[0-9a-f]+)/;
const AMD =
  /(?<device>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): AMD-Vi: Event logged \[IO_PAGE_FAULT [^\]]*address=(?<address>0x[0-9a-f]+) flags=(?<flags>0x[0-9a-f]+)/;
/** IO_PAGE_FAULT: the RW bit of the event's flags (AMD IOMMU specification, 2.5.3). */
const AMD_WRITE = 0x20;

/** @internal One line of the kernel log, as VT-d's and AMD's drivers print faults; undefined for all others. */
export function parseFault(line: string): IommuFault | undefined {
  const text = line.slice(line.indexOf(";") + 1).split("\n", 1)[0] ?? line;
  const vtd = VTD.exec(text)?.groups;
  if (vtd !== undefined) {
    const { device = "", address = "0", kind } = vtd;
    const full = device.split(":").length === 2 ? `0000:${device}` : device;
    return {
      device: full,
      iova: iova(BigInt(address)),
      access: kind === "Write" ? "w" : "r",
      text,
    };
  }
  const amd = AMD.exec(text)?.groups;
  if (amd === undefined) return undefined;
  const { device = "", address = "0", flags = "0" } = amd;
  const access = (Number(flags) & AMD_WRITE) === 0 ? "r" : "w";
  return { device, iova: iova(BigInt(address)), access, text };
}
