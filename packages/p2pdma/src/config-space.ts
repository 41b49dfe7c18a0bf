import {
  type CapabilityPlace,
  type ConfigReader,
  findCapability,
  findExtendedCapability,
} from "./find-capability.js";
import { pciRegs as reg } from "./pci-regs.js";
import type { SriovRecord } from "./record.js";
import {
  type AcsInfo,
  type BridgeBuses,
  type BridgeWindow,
  type LinkInfo,
  type PciFunctionInfo,
  type PortType,
  portTypes,
} from "./topology.js";

/** A BAR as config space holds it: a bus address, no size. */
export interface ConfigBar {
  /** Number of the BAR, by its register, from 0. */
  readonly index: number;
  readonly kind: "memory" | "io";
  /** Address on the bus, in bytes; 0 where unassigned. */
  readonly busStart: bigint;
  readonly is64Bit: boolean;
  readonly prefetchable: boolean;
}

/** What the bytes of one function's config space say (p2pdma, config-space layout). */
export interface DecodedConfig {
  /** Undefined for a VF, whose ID registers read as all ones (PCI Express base spec 9.3.4.1): the kernel knows them otherwise. */
  readonly vendorId: number | undefined;
  /** Undefined for a VF, as {@link vendorId}. */
  readonly deviceId: number | undefined;
  /** 24 bits: base class, subclass, programming interface. */
  readonly classCode: number | undefined;
  readonly headerType: PciFunctionInfo["headerType"];
  readonly multiFunction: boolean | undefined;
  readonly memoryEnabled: boolean | undefined;
  readonly busNumbers: BridgeBuses | undefined;
  readonly windows: readonly BridgeWindow[];
  readonly bars: readonly (ConfigBar | undefined)[];
  readonly portType: PortType | "none" | undefined;
  readonly acs: AcsInfo;
  readonly link: LinkInfo | undefined;
  readonly sriov: SriovRecord | undefined;
}

/** Little-endian reads that say undefined past the bytes that the input shows. */
class ConfigBytes implements ConfigReader {
  readonly length: number;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.length = bytes.length;
  }

  u8(offset: number): number | undefined {
    return this.#bytes[offset];
  }

  u16(offset: number): number | undefined {
    const high = this.#bytes[offset + 1];
    return high === undefined ? undefined : (this.#bytes[offset] ?? 0) | (high << 8);
  }

  u32(offset: number): number | undefined {
    const high = this.u16(offset + 2);
    return high === undefined ? undefined : (this.u16(offset) ?? 0) + high * 0x1_0000;
  }

  read(offset: number, size: 1 | 2 | 4): number | undefined {
    return size === 1 ? this.u8(offset) : size === 2 ? this.u16(offset) : this.u32(offset);
  }
}

/** What config space alone does not say. */
export interface DecodeOptions {
  /**
   * The function has only the 256 bytes of conventional config space, rather than the input showing no more of it (p2pdma R30).
   */
  readonly only256?: boolean;
}

/**
 * Decodes config space: header, BARs, bridge windows, PCI Express and ACS capabilities.
 *
 * @param bytes - as many as could be read: 64 without privilege, 256 or 4096 with it (p2pdma R29)
 * @returns undefined when the bytes are too few for IDs, or all ones (device gone)
 */
export function decodeConfigSpace(
  bytes: Uint8Array,
  options: DecodeOptions = {},
): DecodedConfig | undefined {
  const config = new ConfigBytes(bytes);
  const vendorId = config.u16(reg.PCI_VENDOR_ID);
  const deviceId = config.u16(reg.PCI_DEVICE_ID);
  if (vendorId === undefined || deviceId === undefined) return undefined;
  if (bytes.subarray(0, 16).every((byte) => byte === 0xff)) return undefined;
  const headerByte = config.u8(reg.PCI_HEADER_TYPE);
  const headerType = headerTypeOf(headerByte);
  const command = config.u16(reg.PCI_COMMAND);
  const classAndRevision = config.u32(reg.PCI_CLASS_REVISION);
  const express = findCapability(config, reg.PCI_CAP_ID_EXP);
  const expressAt = typeof express === "number" ? express : undefined;
  const isBridge = headerType === 1 || headerType === 2;
  return {
    vendorId: vendorId === 0xffff ? undefined : vendorId,
    deviceId: vendorId === 0xffff ? undefined : deviceId,
    classCode: classAndRevision === undefined ? undefined : classAndRevision >>> 8,
    headerType,
    multiFunction:
      headerByte === undefined ? undefined : (headerByte & reg.PCI_HEADER_TYPE_MFD) !== 0,
    memoryEnabled: command === undefined ? undefined : (command & reg.PCI_COMMAND_MEMORY) !== 0,
    busNumbers: isBridge ? busNumbersOf(config) : undefined,
    windows: headerType === 1 ? windowsOf(config) : [],
    bars: barsOf(config, headerType === 0 ? 6 : headerType === 1 ? 2 : 0),
    portType: expressAt === undefined ? noPortType(express) : portTypeOf(config, expressAt),
    acs: acsOf(config, express, options.only256 === true),
    link: expressAt === undefined ? undefined : linkOf(config, expressAt),
    sriov: expressAt === undefined ? undefined : sriovOf(config),
  };
}

function headerTypeOf(value: number | undefined): PciFunctionInfo["headerType"] {
  const type = value === undefined ? undefined : value & reg.PCI_HEADER_TYPE_MASK;
  return type === 0 || type === 1 || type === 2 ? type : undefined;
}

function busNumbersOf(config: ConfigBytes): BridgeBuses | undefined {
  const primary = config.u8(reg.PCI_PRIMARY_BUS);
  const secondary = config.u8(reg.PCI_SECONDARY_BUS);
  const subordinate = config.u8(reg.PCI_SUBORDINATE_BUS);
  if (primary === undefined || secondary === undefined || subordinate === undefined) {
    return undefined;
  }
  return { primary, secondary, subordinate };
}

function windowsOf(config: ConfigBytes): BridgeWindow[] {
  const windows: BridgeWindow[] = [];
  const add = (kind: BridgeWindow["kind"], first: bigint, last: bigint): void => {
    if (first < last) windows.push({ kind, first, last });
  };
  const ioBase = config.u8(reg.PCI_IO_BASE);
  const ioLimit = config.u8(reg.PCI_IO_LIMIT);
  if (ioBase !== undefined && ioLimit !== undefined && (ioBase !== 0 || ioLimit !== 0)) {
    const upper = (ioBase & 0x0f) === 1;
    const high = (offset: number): bigint => (upper ? BigInt(config.u16(offset) ?? 0) << 16n : 0n);
    add(
      "io",
      high(reg.PCI_IO_BASE_UPPER16) | (BigInt(ioBase & 0xf0) << 8n),
      high(reg.PCI_IO_LIMIT_UPPER16) | (BigInt(ioLimit & 0xf0) << 8n) | 0xfffn,
    );
  }
  const range = (kind: "memory" | "prefetchable", at: number): void => {
    const base = config.u16(at);
    const limit = config.u16(at + 2);
    if (base === undefined || limit === undefined || (base === 0 && limit === 0)) return;
    const upper = kind === "prefetchable" && (base & 0x0f) === 1;
    const high = (offset: number): bigint => (upper ? BigInt(config.u32(offset) ?? 0) << 32n : 0n);
    add(
      kind,
      high(reg.PCI_PREF_BASE_UPPER32) | (BigInt(base & 0xfff0) << 16n),
      high(reg.PCI_PREF_LIMIT_UPPER32) | (BigInt(limit & 0xfff0) << 16n) | 0xf_ffffn,
    );
  };
  range("memory", reg.PCI_MEMORY_BASE);
  range("prefetchable", reg.PCI_PREF_MEMORY_BASE);
  return windows;
}

function barsOf(config: ConfigBytes, count: number): (ConfigBar | undefined)[] {
  const bars: (ConfigBar | undefined)[] = [];
  for (let index = 0; index < count; index += 1) {
    const at = reg.PCI_BASE_ADDRESS_0 + index * 4;
    const raw = config.u32(at);
    if (raw === undefined) break;
    const is64Bit = (raw & 1) === 0 && ((raw >>> 1) & 3) === 2 && index + 1 < count;
    const upper = is64Bit ? (config.u32(at + 4) ?? 0) : 0;
    bars.push(raw === 0 || raw === 0xffff_ffff ? undefined : barOf(index, raw, upper, is64Bit));
    if (is64Bit) {
      bars.push(undefined);
      index += 1;
    }
  }
  while (bars.length > 0 && bars.at(-1) === undefined) bars.pop();
  return bars;
}

function barOf(index: number, raw: number, upper: number, is64Bit: boolean): ConfigBar {
  if ((raw & 1) === 1) {
    const busStart = BigInt((raw & ~3) >>> 0);
    return { index, kind: "io", busStart, is64Bit: false, prefetchable: false };
  }
  const busStart = (BigInt(upper) << 32n) | BigInt((raw & ~0xf) >>> 0);
  return { index, kind: "memory", busStart, is64Bit, prefetchable: (raw & 8) !== 0 };
}

const portTypeNames = new Map<number, PortType>(
  Object.entries(portTypes).map(([name, value]) => [value, name as PortType]),
);

/** A function that is not PCI Express has no port type; one whose capabilities are not shown has one that nobody knows. */
function noPortType(express: CapabilityPlace): "none" | undefined {
  return express === "none" ? "none" : undefined;
}

function portTypeOf(config: ConfigBytes, offset: number): PortType | undefined {
  const flags = config.u16(offset + reg.PCI_EXP_FLAGS);
  return flags === undefined ? undefined : portTypeNames.get((flags >>> 4) & 0xf);
}

const speeds = [undefined, 2.5, 5, 8, 16, 32, 64];

/** Link registers, for the port types that have a link (drivers/pci/access.c, pcie_cap_has_lnkctl). */
function linkOf(config: ConfigBytes, offset: number): LinkInfo | undefined {
  const type = portTypeOf(config, offset);
  if (type === undefined || type === "rc-integrated-endpoint" || type === "rc-event-collector") {
    return undefined;
  }
  const capability = config.u32(offset + reg.PCI_EXP_LNKCAP);
  const status = config.u16(offset + reg.PCI_EXP_LNKSTA);
  if (capability === undefined || status === undefined) return undefined;
  const width = (status >>> 4) & 0x3f;
  const maxWidth = (capability >>> 4) & 0x3f;
  return {
    speed: width === 0 ? undefined : speeds[status & 0xf],
    width: width === 0 ? undefined : width,
    maxSpeed: speeds[capability & 0xf],
    maxWidth: maxWidth === 0 ? undefined : maxWidth,
  };
}

function acsOf(config: ConfigBytes, express: CapabilityPlace, only256: boolean): AcsInfo {
  if (express === "none") return { state: "none" };
  if (express === "unseen") {
    return {
      state: "unknown",
      why: `only ${config.length.toString()} bytes of config space are shown: the capabilities need CAP_SYS_ADMIN`,
    };
  }
  if (only256 && config.length <= 256) return { state: "none" };
  const at = findExtendedCapability(config, reg.PCI_EXT_CAP_ID_ACS);
  if (at === "none") return { state: "none" };
  const capability = at === "unseen" ? undefined : config.u16(at + reg.PCI_ACS_CAP);
  const control = at === "unseen" ? undefined : config.u16(at + reg.PCI_ACS_CTRL);
  if (control === undefined) {
    return {
      state: "unknown",
      why: `extended config space is shown to 0x${config.length.toString(16)} only: it needs CAP_SYS_ADMIN, and lspci -xxxx`,
    };
  }
  return { state: "present", control, capability };
}

function sriovOf(config: ConfigBytes): SriovRecord | undefined {
  const at = findExtendedCapability(config, reg.PCI_EXT_CAP_ID_SRIOV);
  if (typeof at === "string") return undefined;
  const control = config.u16(at + reg.PCI_SRIOV_CTRL) ?? 0;
  const enabled = (control & reg.PCI_SRIOV_CTRL_VFE) !== 0;
  const count = config.u16(at + reg.PCI_SRIOV_NUM_VF);
  const offset = config.u16(at + reg.PCI_SRIOV_VF_OFFSET);
  const stride = config.u16(at + reg.PCI_SRIOV_VF_STRIDE);
  if (count === undefined || offset === undefined || stride === undefined) return undefined;
  return { offset, stride, count: enabled ? count : 0 };
}
