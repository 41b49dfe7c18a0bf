export type { BarWriteListener } from "./bar.js";
export { SimBar } from "./bar.js";
export { Cpu } from "./cpu.js";
export { DirectMapper } from "./direct-mapper.js";
export { SimDmaEngine } from "./dma-engine.js";

import "./events.js";

export type { QueuePairSetup } from "./devices/nic.js";
export { Nic } from "./devices/nic.js";
export type { NvmeOptions } from "./devices/nvme.js";
export { NVME_BLOCK, NvmeController } from "./devices/nvme.js";
export type { NvmeCommand } from "./devices/nvme-command.js";
export { adminOpcodes, encodeCommand, ioOpcodes, nvmeStatus } from "./devices/nvme-command.js";
export type { KeyedRange, NicKey, WorkCompletion, WorkRequest } from "./devices/work-request.js";
export {
  decodeCompletion,
  encodeReceive,
  encodeWork,
  nicOpcodes,
  nicStatus,
} from "./devices/work-request.js";
export type { HostBridgeForwarding, Route, TransferStatus } from "./fabric/fabric.js";
export type { RamRange } from "./host-memory.js";
export { HostMemory } from "./host-memory.js";
export type { BarLengths, MachineNote, MachineTopology, NoteKind } from "./layout/layout.js";
export type { DirtyPages, MachineOptions } from "./machine.js";
export { Machine } from "./machine.js";
export { SimFunction } from "./sim-function.js";
export { SparseMemory } from "./sparse-memory.js";
export type { MachineState, SavedFunction, SavedPiece } from "./state.js";
export type { DmaOptions, DmaSegment } from "./transfer.js";
