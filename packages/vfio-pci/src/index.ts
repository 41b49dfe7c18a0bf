import type {} from "./events.js";

export type { AttachKind } from "./attach-kind.js";
export type { BarView, CpuMemory } from "./bar-view.js";
export type { Draining } from "./buffer-list.js";
export type { DeviceFeatureOptions } from "./device-feature.js";
export {
  deviceFeature,
  VFIO_DEVICE_FEATURE,
  VFIO_DEVICE_FEATURE_DMA_BUF,
  VFIO_DEVICE_FEATURE_GET,
  VFIO_DEVICE_FEATURE_PROBE,
  VFIO_DEVICE_FEATURE_SET,
} from "./device-feature.js";
export type { AllocationSite, IovaStrategy } from "./iova-policy.js";
export { attachKind } from "./kind-of-attachment.js";
export type { TriggerName } from "./memory-gate.js";
export type { P2pDecision, P2pMapType } from "./p2p-decision.js";
export type { HotResetOptions, OpenOptions, VfioPciOptions } from "./vfio-pci.js";
export { VfioPci } from "./vfio-pci.js";
export type { BarExportRequest } from "./vfio-pci-device.js";
export { VfioPciDevice } from "./vfio-pci-device.js";
