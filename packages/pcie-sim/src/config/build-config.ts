import {
  acsBits,
  type LinkInfo,
  type PciFunctionInfo,
  type PortType,
  portTypes,
  pciRegs as reg,
} from "@peerbar/p2pdma";
import { FOUR_GIB, type PlacedBar, powerOfTwo, type Window } from "../layout/layout.js";
import { CONVENTIONAL_BYTES, ConfigSpace, EXPRESS_BYTES } from "./config-space.js";
import * as place from "./places.js";

/** What a function's configuration space is made from. */
export interface ConfigParts {
  readonly info: PciFunctionInfo;
  readonly portType: PortType | "none";
  readonly multiFunction: boolean;
  readonly bars: readonly PlacedBar[];
  readonly windows: readonly Window[];
  /** Virtual functions that are enabled, by routing ID relative to this function, ascending. */
  readonly virtual: readonly number[];
}

/** What a function is given where the topology shows only the control word. */
const ACS_USUAL = acsBits.SV | acsBits.TB | acsBits.RR | acsBits.CR | acsBits.UF;

/** Real bytes from what the topology shows; bits that no input shows are zero. */
export function buildConfig(parts: ConfigParts): ConfigSpace {
  const { info, portType } = parts;
  const express = portType !== "none" || info.acs.state === "present";
  const config = new ConfigSpace(express ? EXPRESS_BYTES : CONVENTIONAL_BYTES);
  defineHeader(config, parts);
  if (info.headerType === 1) defineBridge(config, parts);
  defineBars(config, parts);
  if (express) {
    definePowerManagement(config);
    defineExpress(config, parts);
    defineAcs(config, parts);
    defineSriov(config, parts);
  }
  return config;
}

function defineHeader(config: ConfigSpace, { info, portType, multiFunction }: ConfigParts): void {
  // A virtual function shows all ones here; software takes the IDs from its physical function.
  const virtual = info.physfn >= 0;
  config.define(reg.PCI_VENDOR_ID, 2, virtual ? 0xffff : (info.vendorId ?? 0));
  config.define(reg.PCI_DEVICE_ID, 2, virtual ? 0xffff : (info.deviceId ?? 0));
  const memory = virtual ? 0 : reg.PCI_COMMAND_MEMORY;
  const enabled = virtual || info.memoryEnabled === false ? 0 : reg.PCI_COMMAND_MEMORY;
  config.define(
    reg.PCI_COMMAND,
    2,
    enabled | reg.PCI_COMMAND_MASTER,
    0x0541 | memory | reg.PCI_COMMAND_MASTER,
  );
  const express = portType !== "none" || info.acs.state === "present";
  config.define(reg.PCI_STATUS, 2, express ? reg.PCI_STATUS_CAP_LIST : 0);
  config.define(reg.PCI_CLASS_REVISION, 4, ((info.classCode ?? 0) << 8) >>> 0);
  config.define(
    reg.PCI_HEADER_TYPE,
    1,
    (info.headerType ?? 0) | (multiFunction ? reg.PCI_HEADER_TYPE_MFD : 0),
  );
  config.define(0x3c, 1, 0, 0xff);
  if (express) config.define(reg.PCI_CAPABILITY_LIST, 1, place.PM_CAPABILITY);
}

function defineBridge(config: ConfigSpace, { info, windows }: ConfigParts): void {
  const { primary, secondary, subordinate } = info.busNumbers ?? {
    primary: info.bus,
    secondary: 0,
    subordinate: 0,
  };
  config.define(reg.PCI_PRIMARY_BUS, 1, primary, 0xff);
  config.define(reg.PCI_SECONDARY_BUS, 1, secondary, 0xff);
  config.define(reg.PCI_SUBORDINATE_BUS, 1, subordinate, 0xff);
  // An empty window has its base above its limit.
  config.define(reg.PCI_MEMORY_BASE, 4, 0x0000_fff0, 0xfff0_fff0);
  config.define(reg.PCI_PREF_MEMORY_BASE, 4, 0x0001_fff1, 0xfff0_fff0);
  config.define(reg.PCI_PREF_BASE_UPPER32, 4, 0, 0xffff_ffff);
  config.define(reg.PCI_PREF_LIMIT_UPPER32, 4, 0, 0xffff_ffff);
  config.define(reg.PCI_BRIDGE_CONTROL, 2, 0, 0x0fff);
  for (const window of windows) setWindow(config, window);
}

function setWindow(config: ConfigSpace, { kind, first, last }: Window): void {
  const base = Number((first >> 16n) & 0xfff0n);
  const limit = Number((last >> 16n) & 0xfff0n);
  const value = ((limit << 16) | base) >>> 0;
  if (kind === "memory") config.set(reg.PCI_MEMORY_BASE, 4, value);
  else {
    config.set(reg.PCI_PREF_MEMORY_BASE, 4, (value | 0x1_0001) >>> 0);
    config.set(reg.PCI_PREF_BASE_UPPER32, 4, Number(first >> 32n));
    config.set(reg.PCI_PREF_LIMIT_UPPER32, 4, Number(last >> 32n));
  }
}

function defineBars(config: ConfigSpace, { info, bars }: ConfigParts): void {
  // The BARs of a virtual function are in its physical function's SR-IOV capability: its own registers read zero.
  if (info.physfn >= 0) return;
  for (const bar of bars) {
    const offset = reg.PCI_BASE_ADDRESS_0 + 4 * bar.index;
    const flags = (bar.is64Bit ? 0x4 : 0) | (bar.prefetchable ? 0x8 : 0);
    const mask = ~(powerOfTwo(bar.length) - 1n);
    config.define(offset, 4, Number(bar.bus & 0xffff_fff0n) | flags, Number(mask & 0xffff_fff0n));
    if (bar.is64Bit) {
      // The upper half of the pair.
      config.define(offset + 4, 4, Number(bar.bus >> 32n), Number((mask >> 32n) & (FOUR_GIB - 1n)));
    }
  }
  for (const shown of info.bars) {
    if (shown?.kind !== "io" || shown.length === undefined) continue;
    const mask = ~(powerOfTwo(shown.length) - 1n) & 0xffff_fffcn;
    const value = Number(shown.busStart & 0xffff_fffcn) | 1;
    config.define(reg.PCI_BASE_ADDRESS_0 + 4 * shown.index, 4, value >>> 0, Number(mask));
  }
}

function definePowerManagement(config: ConfigSpace): void {
  config.define(place.PM_CAPABILITY, 2, (place.PCIE_CAPABILITY << 8) | reg.PCI_CAP_ID_PM);
  // Version 3, no D1, D2 or PME.
  config.define(place.PM_CAPABILITY + 2, 2, 0x0003);
  config.define(place.PMCSR, 2, reg.PCI_PM_CTRL_NO_SOFT_RESET, reg.PCI_PM_CTRL_STATE_MASK);
}

function defineExpress(config: ConfigSpace, { info, portType }: ConfigParts): void {
  const type = portType === "none" ? 0 : portTypes[portType];
  config.define(place.PCIE_CAPABILITY, 2, reg.PCI_CAP_ID_EXP);
  config.define(place.PCIE_CAPABILITY + 2, 2, (type << 4) | 2);
  const endpoint = info.headerType !== 1;
  config.define(place.DEVICE_CAPABILITIES, 4, 0x8000 | (endpoint ? reg.PCI_EXP_DEVCAP_FLR : 0));
  // Bit 15 starts a function-level reset and always reads zero; the function acts on the written value.
  config.define(place.DEVICE_CONTROL, 2, 0x2810, 0x7fff);
  const { link } = info;
  const port = (info.slot & 0xff) << 24;
  config.define(
    place.PCIE_CAPABILITY + reg.PCI_EXP_LNKCAP,
    4,
    (port | linkWord(link?.maxSpeed ?? link?.speed, link?.maxWidth ?? link?.width)) >>> 0,
  );
  config.define(place.PCIE_CAPABILITY + reg.PCI_EXP_LNKSTA, 2, linkWord(link?.speed, link?.width));
}

const LINK_SPEEDS = [2.5, 5, 8, 16, 32, 64];

function linkWord(speed: LinkInfo["speed"], width: LinkInfo["width"]): number {
  const code = speed === undefined ? 0 : LINK_SPEEDS.indexOf(speed) + 1;
  return code | ((width ?? 0) << 4);
}

function defineAcs(config: ConfigSpace, { info, virtual }: ConfigParts): void {
  const { acs } = info;
  if (acs.state !== "present") return;
  const next = virtual.length > 0 ? place.SRIOV_AFTER_ACS : 0;
  const capability = acs.capability ?? acs.control | ACS_USUAL;
  const egress = (capability & acsBits.EC) !== 0;
  config.define(place.ACS_CAPABILITY, 4, (next << 20) | 0x0001_0000 | reg.PCI_EXT_CAP_ID_ACS);
  config.define(place.ACS_CAPABILITY + 4, 2, (capability & 0xff) | (egress ? 32 << 8 : 0));
  config.define(place.ACS_CONTROL, 2, acs.control, capability & 0x7f);
  // No input shows the vector. All ones keeps what egress control is there for: no peer is reached directly.
  if (egress) config.define(place.ACS_EGRESS_VECTOR, 4, 0xffff_ffff, 0xffff_ffff);
}

/** Where a function's SR-IOV capability is, if it has one. */
export function sriovOffset(info: PciFunctionInfo): number {
  return info.acs.state === "present" ? place.SRIOV_AFTER_ACS : place.ACS_CAPABILITY;
}

function defineSriov(config: ConfigSpace, { info, virtual }: ConfigParts): void {
  const [first, second] = virtual;
  if (first === undefined) return;
  const at = sriovOffset(info);
  const enabled = reg.PCI_SRIOV_CTRL_VFE | reg.PCI_SRIOV_CTRL_MSE;
  config.define(at, 4, 0x0001_0000 | reg.PCI_EXT_CAP_ID_SRIOV);
  config.define(at + reg.PCI_SRIOV_CTRL, 2, enabled, 0x1f);
  config.define(at + reg.PCI_SRIOV_INITIAL_VF, 2, virtual.length);
  config.define(at + reg.PCI_SRIOV_TOTAL_VF, 2, virtual.length);
  config.define(at + reg.PCI_SRIOV_NUM_VF, 2, virtual.length, 0xffff);
  config.define(at + reg.PCI_SRIOV_VF_OFFSET, 2, first);
  config.define(at + reg.PCI_SRIOV_VF_STRIDE, 2, second === undefined ? 1 : second - first);
}
