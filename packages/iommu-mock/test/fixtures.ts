import {
  type DmaBufError,
  type DmaDevice,
  type IommuClient,
  iova,
  isDmaBufError,
  type PhysRange,
  physAddr,
} from "@peerbar/core";
import { expect } from "vitest";
import { MockIommu, type MockIommuOptions, type MockPort } from "../src/index.js";

export const NIC = "0000:19:00.0";
export const MASK64 = (1n << 64n) - 1n;
export const MSI = { first: iova(0xfee0_0000n), last: iova(0xfeef_ffffn), kind: "msi" } as const;
/** First byte of a BAR that is aligned to 1 GiB. */
export const BAR = 0x3800_0000_0000n;

export function client(changes: Partial<IommuClient> = {}): IommuClient {
  return { name: NIC, isPci: true, dmaMask: MASK64, reserved: [], ...changes };
}

export interface Setup {
  readonly iommu: MockIommu;
  readonly port: MockPort;
  readonly device: DmaDevice;
}

export function setup(options: MockIommuOptions = {}, changes: Partial<IommuClient> = {}): Setup {
  const iommu = new MockIommu(options);
  const port = iommu.connect(client(changes));
  return { iommu, port, device: deviceOf(port) };
}

export function deviceOf(port: MockPort): DmaDevice {
  return {
    name: port.name,
    pciAddress: port.name,
    dmaMask: port.client.dmaMask,
    dma: port.dma,
  };
}

export function range(start: bigint, length: bigint): PhysRange {
  return { start: physAddr(start), length };
}

/** What the device reaches at an IOVA in bytes: a physical address, or the reason of the fault. */
export function reach(setup: Setup, at: bigint, write = true): string {
  const out = { pfn: 0 };
  if (setup.port.translate(Number(at >> 12n), 1, write, out) > 0) {
    return `0x${((BigInt(out.pfn) << 12n) | (at & 0xfffn)).toString(16)}`;
  }
  const faults = setup.iommu.faults.drain();
  return faults[faults.length - 1]?.reason ?? "no fault recorded";
}

/** The error that the call throws; fails where it throws none. */
export function errorOf(call: () => unknown): DmaBufError {
  try {
    call();
  } catch (error) {
    if (isDmaBufError(error)) return error;
    throw error;
  }
  return expect.unreachable("nothing was thrown");
}

export function codeOf(call: () => unknown): string {
  return errorOf(call).code;
}

export function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
