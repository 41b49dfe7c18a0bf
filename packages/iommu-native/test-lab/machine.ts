import { readdirSync, readFileSync } from "node:fs";
import { openFds } from "@peerbar/linux";
import { NativeHost, type NativeHostOptions } from "../src/index.js";

/** PCI addresses of the lab's devices by kind, in bus order. */
export interface LabDevices {
  /** ivshmem: BAR 2 is memory. */
  readonly memory: readonly string[];
  /** The DMA engine. */
  readonly edu: readonly string[];
  /** Controllers with memory of their own in BAR 2, bound to a driver. */
  readonly nvme: readonly string[];
}

const DEVICES = "/sys/bus/pci/devices";

/** @throws Error outside the lab: nothing here may touch another machine's devices. */
export function labDevices(): LabDevices {
  if (process.env.PEERBAR_LAB !== "1") {
    throw new Error("runs inside the kernel lab alone: pnpm lab packages/iommu-native/test-lab");
  }
  const of = (vendor: string, device: string): string[] =>
    readdirSync(DEVICES)
      .sort()
      .filter(
        (address) =>
          readFileSync(`${DEVICES}/${address}/vendor`, "utf8").trim() === vendor &&
          readFileSync(`${DEVICES}/${address}/device`, "utf8").trim() === device,
      );
  return {
    memory: of("0x1af4", "0x1110"),
    edu: of("0x1234", "0x11e8"),
    nvme: of("0x1b36", "0x0010"),
  };
}

/** First of a list, for machines that must have it. */
export function first<T>(list: readonly T[], what: string): T {
  const [one] = list;
  if (one === undefined) throw new Error(`this machine has no ${what}`);
  return one;
}

/** Runs `use` on a host of its own; whatever happens, no descriptor of ours is left. */
export async function withHost<T>(
  use: (host: NativeHost) => Promise<T>,
  options?: NativeHostOptions,
): Promise<T> {
  const host = new NativeHost(options);
  let result: T;
  try {
    result = await use(host);
  } catch (error) {
    await host.close().catch(() => undefined);
    throw error;
  }
  await host.close();
  await nothingOpen();
  return result;
}

/** What a test was blamed for already, by number. */
const blamed = new Set<number>();

/** Releases are deferred by a turn; after that nothing may be open. A leak is told once, not at every later test. */
export async function nothingOpen(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  const left = openFds()
    .filter(({ fd }) => !blamed.has(fd))
    .map(({ fd, what }) => {
      blamed.add(fd);
      return `${String(fd)} ${what}`;
    });
  if (left.length > 0) throw new Error(`left open: ${left.join(", ")}`);
}

/** Driver bound to a function now. */
export function driverOf(address: string): string | undefined {
  return readdirSync(`${DEVICES}/${address}`).includes("driver")
    ? readFileSync(`${DEVICES}/${address}/uevent`, "utf8").match(/^DRIVER=(.*)$/m)?.[1]
    : undefined;
}
