import { type BarExporter, DmaBufError, type IommuBackend, type PciFunction } from "@peerbar/core";
import type { Subject } from "@peerbar/words";
import { backends } from "../kinds.js";

export type BackendName = (typeof backends)[number];

/** A machine on which BARs are shared, real or simulated. Whoever made it closes it: that ends everything opened on it. */
export interface ShareWorld {
  readonly backend: BackendName;
  readonly subject: Subject;
  readonly iommu: IommuBackend;
  /** What earlier runs left behind and this one put right, as sentences. */
  readonly recovered: readonly string[];
  function(address: string): PciFunction;
  /** Takes a function for sharing. The driver it had is in {@link driverOf} before, and again after {@link close}. */
  open(address: string): Promise<BarExporter>;
  /** The driver bound now; undefined where there is none, and on the mock. */
  driverOf(address: string): string | undefined;
  close(): Promise<void>;
  /** After {@link close}: what is still open or bound, as sentences. */
  leftovers(): readonly string[];
}

/** @throws DmaBufError EINVAL where there is no such backend. */
export function parseBackend(text: string | undefined, usual: BackendName): BackendName {
  const name = backends.find((known) => known === (text ?? usual));
  if (name !== undefined) return name;
  throw new DmaBufError("EINVAL", "--backend", `no backend "${text ?? ""}"`, {
    hint: `use one of ${backends.join(", ")}`,
  });
}
