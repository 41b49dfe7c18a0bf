import { formatPciAddress, type PciAddress } from "./address.js";
import type {
  AcsInfo,
  BridgeBuses,
  BridgeWindow,
  LinkInfo,
  PciBarInfo,
  PciFunctionInfo,
} from "./topology.js";

/** VFs of a physical function, from its SR-IOV capability. Routing ID of VF n (from 0): PF + offset + n * stride. */
export interface SriovRecord {
  offset: number;
  stride: number;
  /** VFs that are enabled. */
  count: number;
}

/** One function as a parser read it, before {@link assemble} links it to the others. Mutable: parsers fill it in as they go. */
export interface FunctionRecord extends PciAddress {
  readonly address: string;
  vendorId: number | undefined;
  deviceId: number | undefined;
  classCode: number | undefined;
  name: string | undefined;
  headerType: PciFunctionInfo["headerType"];
  multiFunction: boolean | undefined;
  portType: PciFunctionInfo["portType"];
  acs: AcsInfo;
  busNumbers: BridgeBuses | undefined;
  windows: BridgeWindow[];
  bars: (PciBarInfo | undefined)[];
  /** The input shows every BAR that the function has, none included. */
  barsShown: boolean;
  memoryEnabled: boolean | undefined;
  numaNode: number | undefined;
  iommuGroup: number | undefined;
  driver: string | undefined;
  link: LinkInfo | undefined;
  deviceNames: string[];
  sriov: SriovRecord | undefined;
  /** Bridge above, where the input says so itself (sysfs path, capture); null: on a root bus. Undefined: by bus numbers. */
  parentAddress: string | null | undefined;
  /** Root bus above, where the input says so itself. */
  rootBus: { readonly domain: number; readonly bus: number } | undefined;
  /** Physical function, where the input says so itself (sysfs link, capture). */
  physfnAddress: string | undefined;
  hiddenUpstream: boolean;
}

/** An empty record: everything unknown. */
export function emptyRecord(address: PciAddress): FunctionRecord {
  return {
    address: formatPciAddress(address),
    domain: address.domain,
    bus: address.bus,
    slot: address.slot,
    fn: address.fn,
    vendorId: undefined,
    deviceId: undefined,
    classCode: undefined,
    name: undefined,
    headerType: undefined,
    multiFunction: undefined,
    portType: undefined,
    acs: { state: "unknown", why: "the input shows no capabilities of this function" },
    busNumbers: undefined,
    windows: [],
    bars: [],
    barsShown: false,
    memoryEnabled: undefined,
    numaNode: undefined,
    iommuGroup: undefined,
    driver: undefined,
    link: undefined,
    deviceNames: [],
    sriov: undefined,
    parentAddress: undefined,
    rootBus: undefined,
    physfnAddress: undefined,
    hiddenUpstream: false,
  };
}
