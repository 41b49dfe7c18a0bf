export type { BusAddr, DmaAddr, Iova, PhysAddr, PhysRange, Slice } from "./address.js";
export {
  ADDRESS_LIMIT,
  busAddr,
  fromPfn,
  hex,
  iova,
  isPageAligned,
  PAGE_BYTES,
  PAGE_SHIFT,
  PAGE_SIZE,
  physAddr,
  toPfn,
} from "./address.js";
export type { AttachmentKind } from "./attachment.js";
export { Attachment } from "./attachment.js";
export { asyncDispose, dispose } from "./dispose.js";
export type { DmaBufReference, ExportOptions } from "./dma-buf.js";
export { DmaBuf } from "./dma-buf.js";
export type {
  DmaCompletion,
  DmaDevice,
  DmaDirection,
  DmaEngine,
  DmaMapper,
  IovaState,
} from "./dma-device.js";
export type { DmaBufErrorCode, DmaBufErrorOptions, ErrnoName } from "./error.js";
export { DmaBufError, errnos, isDmaBufError, ProtocolViolation } from "./error.js";
export type { DmaBufEvent, DmaBufEvents, DmaBufEventType, EventSink } from "./event.js";
export type { ExporterOps } from "./exporter.js";
export type { Fence, FenceUsage } from "./fence.js";
export { DeviceFence, FenceContext, fenceUsages, usageFor, usageRank } from "./fence.js";
export type { ImporterOps } from "./importer.js";
export type { InterconnectName, Interconnects, OpenInterconnectName } from "./interconnect.js";
export { agree } from "./interconnect.js";
export type {
  AddressSpace,
  DmaAccess,
  IommuBackend,
  IommuClient,
  IommuDomain,
  IommuMapping,
  IommuPort,
  IovaRange,
  MapRequest,
  ReservedRegion,
  SoftIommu,
} from "./iommu.js";
export { Lock, LockGuard } from "./lock.js";
export type {
  BarExporter,
  ExportRequest,
  PciBar,
  PciFunction,
  PciPowerState,
} from "./pci-function.js";
export type { PhysVecRoute } from "./phys-vec.js";
export { mapPhysVec, PhysVecTable, unmapPhysVec } from "./phys-vec.js";
export type { ReservationOptions } from "./reservation.js";
export { Held, Reservation } from "./reservation.js";
export type { DmaSpace, PageSpan, ScatterEntry } from "./scatter-table.js";
export {
  MAX_SEGMENT_BYTES,
  MAX_SEGMENT_PAGES,
  ScatterSlice,
  ScatterTable,
} from "./scatter-table.js";
export type { Scheduler, Waiter, WaitKind, WaitPoint } from "./scheduler.js";
export { defaultScheduler, MicrotaskScheduler } from "./scheduler.js";
export type { AbortSignalLike, WaitOptions } from "./wait.js";
export { throwIfAborted, waitFor } from "./wait.js";
