export type {
  AcsInfo,
  BridgeBuses,
  BridgeWindow,
  HostBridgeInfo,
  LinkInfo,
  PciBarInfo,
  PciFunctionInfo,
  PortType,
} from "./topology.js";
export { ACS_REDIRECT, acsBits, portTypes } from "./topology.js";
