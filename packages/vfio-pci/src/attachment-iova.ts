import {
  type Attachment,
  type DmaDirection,
  type IovaState,
  linkPhysVec,
  type PhysVecRoute,
  type ScatterTable,
  unmapPhysVec,
} from "@peerbar/core";
import { type AttachKind, kindBy } from "./attach-kind.js";
import { type BarSource, type IovaPolicy, mapAlone, routeOf } from "./iova-policy.js";

/** What one attachment holds between attach and detach. */
interface Slot {
  kind: AttachKind;
  /** IOVA space for the whole buffer. */
  state: IovaState | undefined;
  /** The mapping that is linked into it now. */
  linked: ScatterTable | undefined;
}

/**
 * The strategy of the October 2025 draft, mended: IOVA space is reserved at attach, linked at map, unlinked at unmap and freed at detach,
 * each exactly once (vfio-pci-dmabuf D1, D2, D12). A second mapping while the first is live gets an IOVA of its own (D3); links run at
 * the running offset (D4); the verdict is asked again at each map (D9).
 */
export class AttachmentIova implements IovaPolicy {
  readonly #source: BarSource;
  readonly #slots = new Map<Attachment, Slot>();

  constructor(source: BarSource) {
    this.#source = source;
  }

  kindOf(attachment: Attachment): AttachKind {
    return this.#slots.get(attachment)?.kind ?? this.#source.provider.kindOf(attachment.device);
  }

  attach(attachment: Attachment): void {
    const slot: Slot = { kind: "none", state: undefined, linked: undefined };
    this.#decide(attachment, slot, this.#source.provider.verdict(attachment.device).route);
    this.#slots.set(attachment, slot);
  }

  detach(attachment: Attachment): void {
    const slot = this.#slots.get(attachment);
    if (slot === undefined) return;
    this.#slots.delete(attachment);
    if (slot.state !== undefined) attachment.device.dma?.free(slot.state);
  }

  map(attachment: Attachment, direction: DmaDirection): ScatterTable {
    const source = this.#source;
    const { device } = attachment;
    const route = routeOf(source, attachment);
    const slot = this.#slots.get(attachment);
    if (slot !== undefined) this.#decide(attachment, slot, route);
    source.allocate?.("sg-table");
    const { dma } = device;
    const reserved = slot?.linked === undefined ? slot?.state : undefined;
    if (route.kind === "bus" || reserved === undefined || dma === undefined) {
      return mapAlone(source, device, route, direction);
    }
    // A failure leaves the reservation as it was (vfio-pci-dmabuf D12).
    const table = linkPhysVec(dma, reserved, source.ranges, direction, () => {
      dma.unlink(reserved, 0n, source.size);
    });
    if (slot !== undefined) slot.linked = table;
    return table;
  }

  unmap(attachment: Attachment, table: ScatterTable): void {
    unmapPhysVec(table);
    const slot = this.#slots.get(attachment);
    if (slot?.linked === table) slot.linked = undefined;
  }

  /** Kind by today's verdict. Space once reserved stays until detach, whatever the verdict becomes; missing space is asked for again. */
  #decide({ device }: Attachment, slot: Slot, route: PhysVecRoute | undefined): void {
    slot.kind = kindBy(route, device);
    if (slot.kind !== "host-bridge-iova") return;
    slot.state ??= device.dma?.tryAllocIova(this.#source.size);
    if (slot.state === undefined) slot.kind = "host-bridge-dma";
  }
}
