import { existsSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import {
  close,
  ioctl,
  ioctlStruct,
  iommufd,
  open,
  pread,
  pwrite,
  vfio,
  vfioContainer,
} from "@peerbar/linux";

const PCI = "/sys/bus/pci";
const NOIOMMU = 8;
const CONFIG_OFFSET = 7 * 2 ** 40;
const COMMAND = 4;
const MEMORY = 2;

/** Gives a function to vfio-pci, for the rest of the boot. */
export function bindToVfio(address: string): void {
  const folder = `${PCI}/devices/${address}`;
  if (driverOf(address) === "vfio-pci") return;
  writeFileSync(`${folder}/driver_override`, "vfio-pci");
  if (existsSync(`${folder}/driver`)) writeFileSync(`${folder}/driver/unbind`, address);
  writeFileSync(`${PCI}/drivers_probe`, address);
  if (driverOf(address) !== "vfio-pci") throw new Error(`${address} does not bind to vfio-pci`);
}

function driverOf(address: string): string | undefined {
  const link = `${PCI}/devices/${address}/driver`;
  return existsSync(link) ? readlinkSync(link).split("/").at(-1) : undefined;
}

/** A function opened through vfio: by iommufd where there is an IOMMU, else by the container without one. */
export class KernelDevice {
  readonly fd: number;
  /** /dev/iommu, the device's id and the address space it is attached to; undefined without an IOMMU. */
  iommu: { readonly fd: number; readonly device: number; readonly ioas: number } | undefined;
  readonly #others: number[] = [];
  readonly #powerManagement: number;

  constructor(address: string, withIommu: boolean) {
    bindToVfio(address);
    this.fd = withIommu ? this.#openCdev(address) : this.#openGroup(address);
    this.#powerManagement = this.#capability(1);
  }

  /** Closes the device, then what carried it. */
  close(): void {
    close(this.fd);
    for (const fd of this.#others.reverse()) close(fd);
  }

  setMemory(on: boolean): void {
    const command = this.#read16(COMMAND);
    this.#write16(COMMAND, on ? command | MEMORY : command & ~MEMORY);
  }

  /** One byte at offset 5: no trigger (vfio-pci-dmabuf R23). */
  writeHighCommandByte(): void {
    const byte = Uint8Array.of(this.#read16(COMMAND) >> 8);
    pwrite(this.fd, byte, CONFIG_OFFSET + COMMAND + 1);
  }

  /** @returns false where the function has no power management. */
  setPower(state: 0 | 3): boolean {
    if (this.#powerManagement === 0) return false;
    const at = this.#powerManagement + 4;
    this.#write16(at, (this.#read16(at) & ~3) | state);
    return true;
  }

  /** Whether a reset worked when vfio opened the function. */
  canReset(): boolean {
    const { flags } = ioctlStruct(this.fd, vfio.VFIO_DEVICE_GET_INFO).out;
    return (flags & vfio.VFIO_DEVICE_FLAGS_RESET) !== 0;
  }

  reset(): void {
    ioctl(this.fd, vfio.VFIO_DEVICE_RESET);
  }

  lowPower(enter: boolean): void {
    const feature = enter
      ? vfio.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY
      : vfio.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
    ioctlStruct(this.fd, vfio.VFIO_DEVICE_FEATURE, {
      flags: feature | vfio.VFIO_DEVICE_FEATURE_SET,
    });
  }

  /** @returns the buffer's descriptor */
  exportDmaBuf(bar: number, ranges: readonly (readonly [number, number])[]): number {
    return ioctl(this.fd, vfio.VFIO_DEVICE_FEATURE, exportRequest(bar, ranges));
  }

  #openCdev(address: string): number {
    const [name] = readdirSync(`${PCI}/devices/${address}/vfio-dev`);
    const fd = open(`/dev/vfio/devices/${name ?? ""}`);
    const iommu = open("/dev/iommu");
    const bound = ioctlStruct(fd, vfio.VFIO_DEVICE_BIND_IOMMUFD, { iommufd: iommu });
    const ioas = ioctlStruct(iommu, iommufd.IOMMU_IOAS_ALLOC).out.out_ioas_id;
    ioctlStruct(fd, vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT, { pt_id: ioas });
    this.#others.push(iommu);
    this.iommu = { fd: iommu, device: bound.out.out_devid, ioas };
    return fd;
  }

  #openGroup(address: string): number {
    const number = readlinkSync(`${PCI}/devices/${address}/iommu_group`).split("/").at(-1) ?? "";
    const container = open("/dev/vfio/vfio");
    const group = open(`/dev/vfio/noiommu-${number}`);
    this.#others.push(container, group);
    ioctl(
      group,
      vfioContainer.VFIO_GROUP_SET_CONTAINER,
      new Uint8Array(Int32Array.of(container).buffer),
    );
    ioctl(container, vfioContainer.VFIO_SET_IOMMU, NOIOMMU);
    return ioctl(group, vfioContainer.VFIO_GROUP_GET_DEVICE_FD, Buffer.from(`${address}\0`));
  }

  #capability(id: number): number {
    const bytes = new Uint8Array(256);
    pread(this.fd, bytes, CONFIG_OFFSET);
    let at = (bytes[0x34] ?? 0) & 0xfc;
    for (let left = 48; at !== 0 && left > 0; left--) {
      if (bytes[at] === id) return at;
      at = (bytes[at + 1] ?? 0) & 0xfc;
    }
    return 0;
  }

  #read16(offset: number): number {
    const bytes = new Uint8Array(2);
    pread(this.fd, bytes, CONFIG_OFFSET + offset);
    return (bytes[0] ?? 0) | ((bytes[1] ?? 0) << 8);
  }

  #write16(offset: number, value: number): void {
    pwrite(this.fd, Uint8Array.of(value & 0xff, value >> 8), CONFIG_OFFSET + offset);
  }
}

/** VFIO_DEVICE_FEATURE with the DMA_BUF payload and its ranges. */
export function exportRequest(
  bar: number,
  ranges: readonly (readonly [number, number])[],
): Uint8Array {
  const bytes = new Uint8Array(8 + 16 + 16 * ranges.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint32(4, vfio.VFIO_DEVICE_FEATURE_DMA_BUF | vfio.VFIO_DEVICE_FEATURE_GET, true);
  view.setUint32(8, bar, true);
  view.setUint32(12, 0o2000002, true);
  view.setUint32(20, ranges.length, true);
  for (const [index, [offset, length]] of ranges.entries()) {
    view.setBigUint64(24 + 16 * index, BigInt(offset), true);
    view.setBigUint64(32 + 16 * index, BigInt(length), true);
  }
  return bytes;
}
