import type { MapType } from "@peerbar/p2pdma";

/** The verdicts of the kernel's p2pdma layer, and "unknown" where the facts are missing (p2pdma section 1, R29). */
export type P2pMapType = MapType | "unknown";

/** What the exporter asks of `@peerbar/p2pdma`: its `P2pdma` fits, and so does any object with the same one method. */
export interface P2pDecision {
  /**
   * The kernel's map type for a client that reaches the provider's BAR.
   *
   * @param provider - PCI address of the function that owns the BAR.
   * @param client - PCI address of the importing device; undefined for one that is not PCI (p2pdma R18).
   */
  mapType(provider: string, client: string | undefined): P2pMapType;
}
