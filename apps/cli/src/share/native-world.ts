import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import { isDmaBufError } from "@peerbar/core";
import { NativeHost } from "@peerbar/iommu-native";
import { openFds } from "@peerbar/linux";
import { inferCpu } from "@peerbar/p2pdma";
import { CannotTell } from "../failure.js";
import type { ShareWorld } from "./world.js";

/**
 * The running machine.
 *
 * @throws CannotTell where it cannot be used: no iommufd, no privilege, not Linux.
 */
export function nativeWorld(options: { readonly force?: boolean | undefined }): ShareWorld {
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
        return await host.open(address, { force: options.force === true });
      } catch (error) {
        throw missing(error);
      }
    },
    driverOf,
    close: () => host.close(),
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
