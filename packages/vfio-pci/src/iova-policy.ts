import {
  type Attachment,
  DmaBufError,
  type DmaDirection,
  mapPhysVec,
  type PhysRange,
  type PhysVecRoute,
  type ScatterTable,
  unmapPhysVec,
} from "@peerbar/core";
import type { AttachKind, BarProvider } from "./attach-kind.js";

/** What is mapped: one buffer's ranges and the BAR they lie in. */
export interface BarSource {
  readonly provider: BarProvider;
  readonly ranges: readonly PhysRange[];
  /** Bytes, all ranges together. */
  readonly size: bigint;
}

/** When IOVA space is taken and given back. Chosen at export; both kinds give importers the same tables. */
export interface IovaPolicy {
  kindOf(attachment: Attachment): AttachKind;
  /** Called once the exporter has admitted the attachment. Must leave nothing behind when it throws. */
  attach?(attachment: Attachment): void;
  detach?(attachment: Attachment): void;
  map(attachment: Attachment, direction: DmaDirection): ScatterTable;
  unmap(attachment: Attachment, table: ScatterTable): void;
}

/** @throws DmaBufError EINVAL where p2pdma has no way from this device to the BAR (vfio-pci-dmabuf R12). */
export function routeOf(source: BarSource, attachment: Attachment): PhysVecRoute {
  const { provider } = source;
  const { mapType, route } = provider.verdict(attachment.device);
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
    },
  );
}

/** Linux 7.2: every mapping has an IOVA of its own, allocated at map and destroyed at unmap (vfio-pci-dmabuf R14, section 4). */
export class MappingIova implements IovaPolicy {
  readonly #source: BarSource;

  constructor(source: BarSource) {
    this.#source = source;
  }

  kindOf(attachment: Attachment): AttachKind {
    return this.#source.provider.kindOf(attachment.device);
  }

  map(attachment: Attachment, direction: DmaDirection): ScatterTable {
    const source = this.#source;
    return mapPhysVec(attachment.device, routeOf(source, attachment), source.ranges, direction);
  }

  unmap(_attachment: Attachment, table: ScatterTable): void {
    unmapPhysVec(table);
  }
}
