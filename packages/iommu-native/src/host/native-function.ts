import {
  busAddr,
  DmaBufError,
  type DmaEngine,
  type PciBar,
  type PciFunction,
  type PciPowerState,
  physAddr,
} from "@peerbar/core";
import type { PciFunctionInfo } from "@peerbar/p2pdma";
import type { PciSysfs } from "../sysfs/pci-sysfs.js";
import type { NativeVfioDevice } from "../vfio/native-vfio-device.js";

/** A PCI function of the running machine. Its configuration space is reached through the opened device. */
export class NativeFunction implements PciFunction {
  readonly name: string;
  readonly pciAddress: string;
  /** What the topology shows of it. */
  readonly info: PciFunctionInfo;
  readonly bars: readonly (PciBar | undefined)[];
  readonly isVirtual: boolean;
  readonly dmaMask: bigint;
  /** Set by whoever drives the device: the kernel moves no bytes by itself. */
  engine?: DmaEngine;
  readonly #device: () => NativeVfioDevice | undefined;

  /** @internal Made by `NativeHost.function`. */
  constructor(sysfs: PciSysfs, info: PciFunctionInfo, device: () => NativeVfioDevice | undefined) {
    this.name = sysfs.address;
    this.pciAddress = sysfs.address;
    this.info = info;
    this.isVirtual = sysfs.isVirtual;
    this.bars = barsOf(info);
    this.dmaMask = (1n << BigInt(sysfs.attribute("dma_mask_bits") ?? "64")) - 1n;
    this.#device = device;
  }

  get powerState(): PciPowerState {
    return this.#opened("pread64").powerState;
  }

  /** Config space through sysfs or vfio, little-endian. */
  readConfig(offset: number, size: 1 | 2 | 4): number {
    return this.#opened("pread64").readConfig(offset, size);
  }

  /**
   * At once, on the calling thread: it sleeps where the write revokes, and tells no importer of this process.
   * `NativeVfioDevice.writeConfig` does.
   */
  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    this.#opened("pwrite64").writeConfigNow(offset, size, value);
  }

  async reset(): Promise<void> {
    await this.#opened("VFIO_DEVICE_RESET").reset();
  }

  #opened(syscall: string): NativeVfioDevice {
    const device = this.#device();
    if (device !== undefined) return device;
    throw new DmaBufError("ENODEV", syscall, `${this.name} is not open`, {
      hint: "open it through the host first: await host.open(address)",
    });
  }
}

function barsOf({ bars }: PciFunctionInfo): readonly (PciBar | undefined)[] {
  return bars.map((bar) =>
    bar?.length === undefined
      ? undefined
      : {
          index: bar.index,
          kind: bar.kind,
          start: physAddr(bar.start),
          busStart: busAddr(bar.busStart),
          length: bar.length,
        },
  );
}
