import {
  type Attachment,
  DmaBufError,
  type DmaDevice,
  type DmaDirection,
  mapPhysVec,
  type PhysRange,
  type PhysVecRoute,
  PhysVecTable,
  type ScatterTable,
} from "@peerbar/core";
import type { AttachKind, BarProvider } from "./attach-kind.js";

/** Allocations that the kernel may fail, where a failing one is told apart. */
export type AllocationSite = "private" | "dma-buf" | "sg-table";

/** What is mapped: one buffer's ranges and the BAR they lie in. */
export interface BarSource {
  readonly provider: BarProvider;
  readonly ranges: readonly PhysRange[];
  /** Bytes, all ranges together. */
  readonly size: bigint;
  /** Failure injection; throws to make the allocation fail. */
  readonly allocate: ((site: AllocationSite) => void) | undefined;
  /** The list by bus address, once somebody asked: ranges and offset never change, so every such mapping shares its arrays. */
  bus: ScatterTable | undefined;
}

/**
 * When IOVA space is taken and given back.
 *
 * - `mapping`: as Linux 7.2: each mapping has an IOVA of its own, allocated at map and destroyed at unmap.
 * - `attachment`: as the draft of October 2025 meant it: reserved at attach, linked at map, unlinked at unmap, freed at detach. An importer
 *   that maps again after a revoke gets the same addresses; one that never maps holds IOVA space for nothing (vfio-pci-dmabuf D8).
 */
export type IovaStrategy = "mapping" | "attachment";

/** One strategy at work for one buffer. Both give importers the same tables. */
export interface IovaPolicy {
  kindOf(attachment: Attachment): AttachKind;
  /** Called once the exporter has admitted the attachment. Must leave nothing behind when it throws. */
  attach?(attachment: Attachment): void;
  detach?(attachment: Attachment): void;
  map(attachment: Attachment, direction: DmaDirection): ScatterTable;
  unmap(attachment: Attachment, table: ScatterTable, direction: DmaDirection): void;
}

/** @throws DmaBufError EINVAL where p2pdma has no way from this device to the BAR (vfio-pci-dmabuf R12). */
export function routeOf({ provider }: BarSource, attachment: Attachment): PhysVecRoute {
  const { mapType, route, cause } = provider.verdict(attachment.device);
  if (route !== undefined) return route;
  const client = attachment.device.pciAddress;
  throw new DmaBufError(
    "EINVAL",
    "dmabuf.map",
    client === undefined
      ? `${attachment.device.name} is not a PCI device: it has no peer-to-peer way to ${provider.address}`
      : `peer-to-peer from ${client} to ${provider.address} is ${mapType}`,
    {
      hint:
        client === undefined
          ? "open the buffer by `phys` instead of mapping it"
          : `\`peerbar why ${provider.address} ${client}\` names the rule and the smallest fix`,
      rule: "vfio-pci-dmabuf R12",
      cause,
    },
  );
}

/** `mapPhysVec` for one mapping of its own; by bus address the list is built once and each mapping is a table over it. */
export function mapAlone(
  source: BarSource,
  device: DmaDevice,
  route: PhysVecRoute,
  direction: DmaDirection,
): PhysVecTable {
  if (route.kind === "bus" && source.bus !== undefined) {
    return new PhysVecTable("bus", source.bus, undefined);
  }
  const table = mapPhysVec(device, route, source.ranges, direction);
  if (route.kind === "bus") source.bus = table;
  return table;
}
