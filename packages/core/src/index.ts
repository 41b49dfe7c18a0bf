// The declarations name Disposable: users whose `lib` has none get it with them.
/// <reference lib="esnext.disposable" preserve="true" />
export { AcquireContext } from "./acquire-context.js";
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
export { Closing } from "./closing.js";
export type { CpuMapping, CpuView } from "./cpu-view.js";
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
export { isDmaDirection } from "./dma-device.js";
export type { DmaBufErrorCode, DmaBufErrorOptions, ErrnoName } from "./error.js";
export { DmaBufError, errnos, isDmaBufError, ProtocolViolation } from "./error.js";
export type { DmaBufEvent, DmaBufEvents, DmaBufEventType, EventSink } from "./event.js";
export { combineSinks } from "./event.js";
export type { ExporterOps } from "./exporter.js";
export type { FdFlags, FdTableOptions, OpenFile, OtherFile } from "./fd-table.js";
export { FdTable } from "./fd-table.js";
export type { Fence, FenceUsage } from "./fence.js";
export {
  DeviceFence,
  FenceContext,
  fenceUsages,
  usageFor,
  usageRank,
  waitForFence,
} from "./fence.js";
export { FenceArray, signaledFence, unwrapFences } from "./fence-container.js";
export type { ImporterOps } from "./importer.js";
export type { InterconnectName, Interconnects, OpenInterconnectName } from "./interconnect.js";
export { agree } from "./interconnect.js";
export type { IoctlOptions } from "./ioctl.js";
export { ioctl } from "./ioctl.js";
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
export { linkPhysVec, mapPhysVec, PhysVecTable, unmapPhysVec } from "./phys-vec.js";
export { POLLIN, POLLOUT } from "./poll.js";
export type { AttachmentInfo, BufferInfo } from "./registry.js";
export { DmaBufRegistry, describeBuffer, fdinfo } from "./registry.js";
export type { FenceInfo, ReservationOptions } from "./reservation.js";
export { Held, Reservation } from "./reservation.js";
export type { DmaSpace, PageSpan, ScatterEntry } from "./scatter-table.js";
export {
  MAX_SEGMENT_BYTES,
  MAX_SEGMENT_PAGES,
  ScatterSlice,
  ScatterTable,
} from "./scatter-table.js";
export type {
  LockWatch,
  ObjectWatch,
  Scheduler,
  SchedulerWatch,
  Waiter,
  WaitKind,
  WaitPoint,
} from "./scheduler.js";
export { defaultScheduler, MicrotaskScheduler } from "./scheduler.js";
export type { SyncAccess } from "./sync-file.js";
export { SyncFile } from "./sync-file.js";
export type { ChromeTraceOptions, TraceEvent, TraceFile } from "./trace.js";
export { ChromeTrace } from "./trace.js";
export {
  DMA_BUF_IOCTL_EXPORT_SYNC_FILE,
  DMA_BUF_IOCTL_IMPORT_SYNC_FILE,
  DMA_BUF_IOCTL_SYNC,
  DMA_BUF_SET_NAME_A,
  DMA_BUF_SET_NAME_B,
  DMA_BUF_SYNC_END,
  DMA_BUF_SYNC_READ,
  DMA_BUF_SYNC_RW,
  DMA_BUF_SYNC_START,
  DMA_BUF_SYNC_WRITE,
  NAME_BYTES,
  SEEK_CUR,
  SEEK_END,
  SEEK_SET,
} from "./uapi.js";
export type { AbortSignalLike, WaitOptions } from "./wait.js";
export { throwIfAborted, waitFor } from "./wait.js";
