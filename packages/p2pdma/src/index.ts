export type { PciAddress } from "./address.js";
export { formatBus, formatPciAddress, parsePciAddress, routingId } from "./address.js";
export type { EditedTopology, TopologyEdit } from "./advice/edits.js";
export { applyEdits, KERNEL_ACS } from "./advice/edits.js";
export type { Fix } from "./advice/fixes.js";
export { fixes, withoutRedirect } from "./advice/fixes.js";
export type { GroupChanges } from "./advice/group-changes.js";
export { hasIommu } from "./advice/iommu-state.js";
export type { LinkBottleneck, LinkRate } from "./advice/link-bottleneck.js";
export { linkBottleneck, linkRate } from "./advice/link-bottleneck.js";
export type { DmaMapping, DmaMappingKind } from "./advice/mapping.js";
export { dmaMapping } from "./advice/mapping.js";
export type { NumaNodes, PathClass } from "./advice/path-class.js";
export { numaNodes, pathClass, pathClassWords } from "./advice/path-class.js";
export type { ChangedPair, PairAnswer, WhatIf, WhatIfOptions } from "./advice/what-if.js";
export { whatIf } from "./advice/what-if.js";
export {
  CAPTURE_KIND,
  CAPTURE_SCHEMA_VERSION,
  captureHash,
  parseCapture,
  toCapture,
} from "./capture.js";
export type { ConfigBar, DecodedConfig, DecodeOptions } from "./config-space.js";
export { decodeConfigSpace } from "./config-space.js";
export type { InferredCpu } from "./cpu.js";
export { cpuSupportsP2pdma, inferCpu } from "./cpu.js";
export type { MapType, P2pdmaDecision, P2pdmaProvider, PathStep, ProviderBar } from "./decision.js";
export { mapTypeCodes, TRUST_RISK } from "./decision.js";
export type { Drift } from "./drift/drift.js";
export { driftedPairs, driftOf } from "./drift/drift.js";
export type { Fact, FactName, FactOptions } from "./drift/facts.js";
export { factsOf, kindOfMachine } from "./drift/facts.js";
export type { CapabilityPlace, ConfigReader } from "./find-capability.js";
export { findCapability, findExtendedCapability } from "./find-capability.js";
export type { FleetOptions } from "./generate/fleet.js";
export { ENDPOINTS_PER_ROOT, generateFleet } from "./generate/fleet.js";
export type { ServerOptions } from "./generate/server.js";
export { generateServer } from "./generate/server.js";
export { shippedCaptures } from "./generate/shipped.js";
export { formatId, hexDigits, hexNumber } from "./hex.js";
export type { HostBridgeListEntry, HostBridgeVerdict } from "./host-bridge-list.js";
export { findListed, hostBridgeList, judgeHostBridge } from "./host-bridge-list.js";
export type { IommuGroups } from "./iommu-groups.js";
export { computeIommuGroups } from "./iommu-groups.js";
export { matrix, PairMatrix } from "./matrix.js";
export type { P2pdmaOptions } from "./p2pdma.js";
export { P2pdma } from "./p2pdma.js";
export type { ParseOptions } from "./parse.js";
export { parseTopology } from "./parse.js";
export { ParseError } from "./parse-error.js";
export { PCI_IDS_VERSION } from "./pci-names.js";
export { pciRegs } from "./pci-regs.js";
export type { FunctionRef, PciTopologyData } from "./pci-topology.js";
export { PciTopology } from "./pci-topology.js";
export { plainText } from "./plain-text.js";
export type { SysfsOptions } from "./sysfs.js";
export { parseSysfs } from "./sysfs.js";
export type { SysfsEntry, SysfsTree } from "./sysfs-tree.js";
export { MapSysfsTree } from "./sysfs-tree.js";
export type {
  AcsInfo,
  BridgeBuses,
  BridgeWindow,
  CpuKind,
  HostBridgeInfo,
  IommuGroupInfo,
  LinkInfo,
  MachineInfo,
  PciBarInfo,
  PciFunctionInfo,
  PortType,
  TopologyFormat,
  TopologySource,
} from "./topology.js";
export { ACS_REDIRECT, acsBits, portTypes } from "./topology.js";
