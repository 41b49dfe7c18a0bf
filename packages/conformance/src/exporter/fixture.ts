import type { DmaBuf, DmaDevice, FdTable, Slice } from "@peerbar/core";
import type { Subject } from "../case.js";

/** Every name of {@link ExporterCapability}: what is not here is a slip of the pen, and would only skip cases. */
export const exporterCapabilities = [
  "sgt",
  "phys",
  "mapper",
  "multi-range",
  "revoke",
  "revocable-only",
  "peer2peer-only",
  "static",
  "pin",
  "bytes",
  "unreachable",
  "live",
  "fd",
  "ranges",
  "forbidden",
  "mmap",
  "large",
  "lazy-iova",
  "reroute",
  "close",
  "reset",
  "low-power",
] as const;

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
 * | `fd` | exports behind a descriptor: `exportFd` |
 * | `ranges` | exports chosen parts of one region: `exportRanges`, `regionSize` |
 * | `forbidden` | the fixture has memory that must not be exported: `exportForbidden` |
 * | `mmap` | the CPU can map buffers |
 * | `large` | `export` takes 12 GiB |
 * | `lazy-iova` | takes IOVA space at map, not at attach |
 * | `reroute` | the way between device and memory can change: `reroute` |
 * | `close` | goes away for good: `close` |
 * | `reset` | resets, which restores only where the memory is on: `reset` |
 * | `low-power` | sleeps on request: `lowPower` |
 */
export type ExporterCapability = (typeof exporterCapabilities)[number];

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
  /** Exports fresh memory behind a descriptor of the table, which owns the only reference. */
  exportFd?(fds: FdTable, size: bigint): number | Promise<number>;
  /** Exports these parts of one region of {@link regionSize} bytes. */
  exportRanges?(ranges: readonly Slice[]): DmaBuf | Promise<DmaBuf>;
  /** Bytes; at least 2^44, so that some repetitions reach 2^63. */
  readonly regionSize?: bigint;
  /** Tries to export memory that another driver owns, or that nobody may map. */
  exportForbidden?(): DmaBuf | Promise<DmaBuf>;
  /** Changes whether p2pdma sees a way between {@link device} and the memory. */
  reroute?(reachable: boolean): void;
  /** The exporting device is closed: what it exported is dead for good. */
  close?(): Promise<void>;
  /** A reset; memory that `revoke` took stays taken. */
  reset?(): Promise<void>;
  /** Enters or leaves low power. */
  lowPower?(engaged: boolean): Promise<void>;
}

/** An exporter under test. */
export interface ExporterSubject extends Subject<ExporterFixture, ExporterCapability> {
  readonly role: "exporter";
}
