import { type Attachment, type DmaDevice, isDmaBufError, type PhysVecRoute } from "@peerbar/core";
import type { P2pDecision, P2pMapType } from "./p2p-decision.js";

/**
 * How an attached device would reach the BAR.
 *
 * - `none`: not by DMA from here. The attach stands, every map is refused with EINVAL (vfio-pci-dmabuf R12, D11): what an importer that
 *   never maps, such as iommufd, gets.
 * - `bus`: switch-local, by bus address; no IOMMU mapping.
 * - `host-bridge-iova`: through the root complex, all ranges in one IOVA span.
 * - `host-bridge-dma`: through the root complex, each range by itself.
 */
export type AttachKind = "none" | "bus" | "host-bridge-iova" | "host-bridge-dma";

/** Where a verdict leads: what to hand to `mapPhysVec`, or why there is nothing. */
export interface RouteVerdict {
  readonly mapType: P2pMapType;
  readonly route: PhysVecRoute | undefined;
  /** Why the topology had no answer. */
  readonly cause?: unknown;
}

const hostBridge: RouteVerdict = { mapType: "thru-host-bridge", route: { kind: "host-bridge" } };
const notSupported: RouteVerdict = { mapType: "not-supported", route: undefined };
const unknown: RouteVerdict = { mapType: "unknown", route: undefined };

/** One memory BAR as others reach it: the kernel's p2pdma provider slot (p2pdma R2, R3). */
export class BarProvider {
  /** PCI address of the owner. */
  readonly address: string;
  /** Bus address minus CPU physical address, wrapping at 64 bits (p2pdma R3). */
  readonly busOffset: bigint;
  readonly #p2p: P2pDecision;
  readonly #bus: RouteVerdict;

  constructor(p2p: P2pDecision, address: string, busOffset: bigint) {
    this.#p2p = p2p;
    this.address = address;
    this.busOffset = BigInt.asUintN(64, busOffset);
    this.#bus = { mapType: "bus-addr", route: { kind: "bus", busOffset: this.busOffset } };
  }

  /** Asks afresh: 7.2 evaluates the map type at each map (vfio-pci-dmabuf section 4; the draft froze it, D9). */
  verdict(device: DmaDevice): RouteVerdict {
    let mapType: P2pMapType;
    try {
      mapType = this.#p2p.mapType(this.address, device.pciAddress);
    } catch (cause) {
      // A device that the topology does not know: attach stands, map is refused and says why.
      if (isDmaBufError(cause)) return { mapType: "unknown", route: undefined, cause };
      throw cause;
    }
    switch (mapType) {
      case "bus-addr":
        return this.#bus;
      case "thru-host-bridge":
        return hostBridge;
      case "not-supported":
        return notSupported;
      case "unknown":
        return unknown;
    }
  }

  /** The kind a device gets whose mappings are made one by one: nothing is reserved to find out. */
  kindOf(device: DmaDevice): AttachKind {
    return kindBy(this.verdict(device).route, device);
  }
}

/** The kind that a route means for a device, before any IOVA was asked for. */
export function kindBy(route: PhysVecRoute | undefined, device: DmaDevice): AttachKind {
  if (route === undefined) return "none";
  if (route.kind === "bus") return "bus";
  if (device.dma === undefined) return "none";
  return device.dma.space === "iova" ? "host-bridge-iova" : "host-bridge-dma";
}

/** Exporters that can tell the kind of an attachment. */
export interface TellsAttachKind {
  attachKind(attachment: Attachment): AttachKind;
}
