import { type Attachment, type DmaDirection, type ScatterTable, unmapPhysVec } from "@peerbar/core";
import type { AttachKind } from "./attach-kind.js";
import { type BarSource, type IovaPolicy, mapAlone, routeOf } from "./iova-policy.js";

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
    const route = routeOf(source, attachment);
    source.allocate?.("sg-table");
    return mapAlone(source, attachment.device, route, direction);
  }

  unmap(_attachment: Attachment, table: ScatterTable): void {
    unmapPhysVec(table);
  }
}
