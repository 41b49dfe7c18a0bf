import type { IommuBackend, SoftIommu } from "@peerbar/core";
import { overlay } from "./exporter.js";
import type { Sanitizer } from "./sanitizer.js";

/** @internal A backend whose ports' DMA APIs are watched; address spaces stay as they are. */
export function watchBackend<B extends IommuBackend>(backend: B, sanitizer: Sanitizer): B {
  if (!("connect" in backend)) return backend;
  const soft = backend as B & SoftIommu;
  const connect: SoftIommu["connect"] = (client) => {
    const port = soft.connect(client);
    return overlay(port, { dma: sanitizer.mapper(port.dma, client.name) });
  };
  return overlay<B & SoftIommu>(soft, { connect } as Partial<B & SoftIommu>);
}
