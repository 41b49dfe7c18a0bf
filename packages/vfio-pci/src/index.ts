import type {} from "./events.js";

export type { AttachKind } from "./attach-kind.js";
export type { Draining } from "./buffer-list.js";
export { attachKind } from "./kind-of-attachment.js";
export type { P2pDecision, P2pMapType } from "./p2p-decision.js";
export type { OpenOptions, VfioPciOptions } from "./vfio-pci.js";
export { VfioPci } from "./vfio-pci.js";
export { VfioPciDevice } from "./vfio-pci-device.js";
