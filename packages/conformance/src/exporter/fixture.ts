import type { DmaBuf, DmaDevice } from "@peerbar/core";
import type { Subject } from "../case.js";

/**
 * What an exporter can do, as data.
 *
 * | name | meaning |
 * |---|---|
 * | `sgt` | maps buffers for devices (offers `sgt`) |
 * | `phys` | hands over physical ranges (offers `phys`) |
 * | `mapper` | maps through the importing device's DMA mapper |
 * | `multi-range` | `export` takes several sizes |
 * | `revoke` | takes memory back and restores it: `revoke`, `restore` |
 * | `revocable-only` | refuses importers that cannot be invalidated |
 * | `peer2peer-only` | refuses importers that do not take peer-to-peer memory |
 * | `static` | takes static importers |
 * | `pin` | has pin and unpin |
 * | `bytes` | the fixture reads the memory: `read`, and the device has an engine |
 * | `unreachable` | the fixture has a device that cannot be mapped for |
 * | `live` | the fixture counts the exporter's live buffers |
 */
export type ExporterCapability =
  | "sgt"
  | "phys"
  | "mapper"
  | "multi-range"
  | "revoke"
  | "revocable-only"
  | "peer2peer-only"
  | "static"
  | "pin"
  | "bytes"
  | "unreachable"
  | "live";

/** One exporter, ready to share memory. Lengths are bytes. */
export interface ExporterFixture {
  /** The device that imports; the suite puts its own observer in front of its DMA mapper. */
  readonly device: DmaDevice;
  /** Shares fresh zeroed memory, whole pages. The suite owns the reference. Several sizes: one buffer of several separate ranges. */
  export(...sizes: readonly bigint[]): DmaBuf | Promise<DmaBuf>;
  /** Takes all memory back, as a reset does, and resolves once it is safe to reuse it. It stays taken until `restore`. */
  revoke?(): Promise<void>;
  /** Makes the memory available again. */
  restore?(): Promise<void>;
  /** Reads a buffer's memory from the exporter's side. */
  read?(buffer: DmaBuf, offset: bigint, into: Uint8Array): void | Promise<void>;
  /** A device for which map must fail with EINVAL (p2pdma says no). */
  readonly unreachable?: DmaDevice;
  /** Buffers whose release has not run. */
  live?(): number;
  /** Pins the exporter counts, over all buffers. */
  pins?(): number;
}

/** An exporter under test. */
export interface ExporterSubject extends Subject<ExporterFixture, ExporterCapability> {
  readonly role: "exporter";
}
