import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import { isDmaBufError } from "@peerbar/core";
import { type NativeFunction, NativeHost, type NativeVfioDevice } from "@peerbar/iommu-native";
import { openFds } from "@peerbar/linux";
import { inferCpu } from "@peerbar/p2pdma";
import { CannotTell } from "../failure.js";
import type { ShareWorld } from "./world.js";

/** The running machine, with what only a kernel's devices can do. */
export interface NativeWorld extends ShareWorld {
  function(address: string): NativeFunction;
  open(address: string): Promise<NativeVfioDevice>;
}

/**
 * The running machine.
 *
 * @throws CannotTell where it cannot be used: no iommufd, no privilege, not Linux.
 */
export function nativeWorld(options: { readonly force?: boolean | undefined }): NativeWorld {
  const host = unlessMissing(() => new NativeHost({ api: "cdev" }));
  const drivers = new Map<string, string | undefined>();
  const { topology } = host;
  const { cpu, evidence } = inferCpu(topology);
  return {
    backend: "native",
    subject: { topology, cpu, cpuEvidence: evidence },
    iommu: host.iommu,
    recovered: host.recovered.map(
      ({ what, outcome, reason }) => `${what}: ${outcome}${reason ? ` (${reason})` : ""}`,
    ),
    function: (address) => host.function(address),
    open: async (address) => {
      if (!drivers.has(address)) drivers.set(address, driverOf(address));
      try {
        const device = await host.open(address, { force: options.force === true });
        // A function that no driver had may come with memory off: its buffers would be born revoked (vfio-pci-dmabuf R6).
        if (!device.memoryEnabled) await device.setMemory(true);
        return device;
      } catch (error) {
        throw missing(error);
      }
    },
    driverOf,
    close: async () => {
      await host.close();
      // Buffers let go of their descriptors a turn after their last reference.
      await new Promise((resolve) => setImmediate(resolve));
    },
    leftovers: () => [
      ...openFds().map(({ fd, what }) => `descriptor ${String(fd)} is open: ${what}`),
      ...[...drivers].flatMap(([address, before]) => {
        const now = driverOf(address);
        const said = `${address} is bound to ${now ?? "no driver"}, it was ${before ?? "none"}`;
        return now === before ? [] : [said];
      }),
    ],
  };
}

function driverOf(address: string): string | undefined {
  try {
    return basename(readlinkSync(`/sys/bus/pci/devices/${address}/driver`));
  } catch {
    return undefined;
  }
}

function unlessMissing<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw missing(error);
  }
}

/** What the machine lacks is no bad input: exit 3. */
function missing(error: unknown): unknown {
  if (!isDmaBufError(error) || error.code === "ERR_PROTOCOL" || error.code === "EINVAL")
    return error;
  const { code, syscall, reason, hint, rule } = error;
  return new CannotTell(code, syscall, reason, { hint, rule, cause: error });
}
