import type {
  IommuBackend,
  IommuClient,
  IommuDomain,
  IommuPort,
  Iova,
  PhysRange,
} from "@peerbar/core";
import type { Subject } from "../case.js";

/** Every name of {@link BackendCapability}: what is not here is a slip of the pen, and would only skip cases. */
export const backendCapabilities = [
  "phys",
  "ports",
  "translating",
  "direct",
  "faults",
  "attributes",
  "cpu-accesses",
] as const;

/**
 * What a backend can do, as data.
 *
 * | name | meaning |
 * |---|---|
 * | `phys` | its address spaces map physical ranges |
 * | `ports` | a device's accesses can be tried: `connect` |
 * | `translating` | devices that no address space has are translated too: the DMA API hands out IOVAs |
 * | `direct` | such devices reach memory by physical address: the DMA API hands out bus addresses |
 * | `faults` | the fixture counts recorded faults |
 * | `attributes` | the fixture tells what a domain's entry says of the memory: `attributes` |
 * | `cpu-accesses` | the fixture counts what the CPU does to the memory: `cpuAccesses` |
 */
export type BackendCapability = (typeof backendCapabilities)[number];

/** One IOMMU without devices. Lengths are bytes. */
export interface BackendFixture {
  readonly iommu: IommuBackend;
  /** Puts a device behind the IOMMU. */
  connect?(client: IommuClient): IommuPort;
  /** Physical pages that may be mapped; disjoint from all given before. */
  memory(length: bigint): PhysRange;
  /** Faults recorded so far. */
  faults?(): number;
  /** Waits until lazily freed IOVAs and stale translations are gone. Absent: unmaps are strict. */
  flush?(): void | Promise<void>;
  /** How the page at `address` is marked in that domain: device memory, or ordinary and cached; undefined for a hole. */
  attributes?(domain: IommuDomain, address: Iova): "mmio" | "cached" | undefined;
  /** Reads, writes and cache maintenance of the CPU on memory that was handed out, so far. */
  cpuAccesses?(): number;
}

/** A backend under test. */
export interface BackendSubject extends Subject<BackendFixture, BackendCapability> {
  readonly role: "backend";
}
