import type { PciBarInfo, PortType } from "../topology.js";
import type { AcsDraft, Draft } from "./draft.js";

/** Reads one line below a header, without its indentation. Lines that say nothing about topology are passed over. */
export function readDetail(draft: Draft, text: string): void {
  // A mail program may have wrapped the long ACS lines.
  if (draft.within === "acs" && acsContinuation.test(text)) {
    readAcsFlags(draft.acs, text);
    return;
  }
  // Dispatch on the first letter: a dump has 16,000 lines, and most are none of ours.
  switch (text.charCodeAt(0)) {
    case 67: // C
      if (text.startsWith("Capabilities: ")) readCapability(draft, text);
      else if (text.startsWith("Control: ")) readControl(draft, text);
      return;
    case 70: // F
      if (text.startsWith("Flags: ")) readFlags(draft, text);
      return;
    case 66: // B
      if (text.startsWith("Bus: primary=")) readBuses(draft, text);
      return;
    case 83: // S
      if (text.startsWith("Status: Cap")) draft.capabilityList = text.startsWith("Status: Cap+");
      return;
    case 73: // I
      readI(draft, text);
      return;
    case 77: // M
    case 80: // P
    case 82: // R
    case 91: // [
      readMemory(draft, text);
      return;
    case 78: // N
      if (text.startsWith("NUMA node: ")) draft.record.numaNode = decimal(text.slice(11));
      else if (text.startsWith("Number of VFs: ")) readVfs(draft, text);
      return;
    case 75: // K
      if (text.startsWith("Kernel ")) readKernel(draft, text);
      return;
    case 76: // L
      if (text.startsWith("LnkCap:")) readLink(draft, text, "max");
      else if (text.startsWith("LnkSta:")) readLink(draft, text, "now");
      return;
    case 86: // V
      if (text.startsWith("VF offset: ")) readVfs(draft, text);
      return;
    case 65: // A
      if (text.startsWith("ACSC")) readAcs(draft, text);
      return;
    case 33: // !
      if (text.startsWith("!!! Unknown header type")) draft.unknownHeader = true;
      return;
    default:
      return;
  }
}

function decimal(text: string): number | undefined {
  const value = Number.parseInt(text, 10);
  return Number.isNaN(value) || value < 0 ? undefined : value;
}

const flagNumber = /, (NUMA node|IOMMU group) (\d{1,6})/g;

/** -v has in one line what -vv spreads over several. Power management has a `Flags:` line too. */
function readFlags(draft: Draft, text: string): void {
  if (draft.within !== undefined) return;
  draft.detailed = true;
  for (const [, what, value] of text.matchAll(flagNumber)) {
    if (what === "NUMA node") draft.record.numaNode = Number(value);
    else draft.record.iommuGroup = Number(value);
  }
}

function readControl(draft: Draft, text: string): void {
  if (draft.within !== undefined) return;
  draft.detailed = true;
  if (text.includes("Mem+")) draft.record.memoryEnabled = true;
  else if (text.includes("Mem-")) draft.record.memoryEnabled = false;
}

function readKernel(draft: Draft, text: string): void {
  draft.within = undefined;
  draft.ended = true;
  const name = "Kernel driver in use: ";
  if (text.startsWith(name)) draft.record.driver = text.slice(name.length).trim();
}

const buses = /primary=([0-9a-f]{2}), secondary=([0-9a-f]{2}), subordinate=([0-9a-f]{2})/;

function readBuses(draft: Draft, text: string): void {
  draft.hasBuses = true;
  const match = buses.exec(text);
  if (match === null) return;
  const [primary = 0, secondary = 0, subordinate = 0] = match
    .slice(1)
    .map((digits) => Number.parseInt(digits, 16));
  draft.record.busNumbers = { primary, secondary, subordinate };
}

function readI(draft: Draft, text: string): void {
  if (text.startsWith("I/O ports at ")) readMemory(draft, text);
  else if (text.startsWith("I/O behind bridge: ")) readMemory(draft, text);
  else if (text.startsWith("IOMMU group: ")) draft.record.iommuGroup = decimal(text.slice(13));
  else if (text.startsWith("Initial VFs: ")) readVfs(draft, text);
  else if (text.startsWith("IOVCtl:")) draft.sriovEnabled = text.includes("Enable+");
}

const window = /^(I\/O|Memory|Prefetchable memory) behind bridge: ([0-9a-f]+)-([0-9a-f]+)/;
const region =
  /^(?:Region ([0-5]): )?(?:\[virtual\] )?(Memory|I\/O ports) at ([0-9a-f]+|<[a-z]+>)(?: \(([^)]*)\))?/;

/** BARs and bridge windows. Those of virtual functions look the same, but stand within the SR-IOV capability. */
function readMemory(draft: Draft, text: string): void {
  if (draft.within !== undefined) return;
  const forwarded = window.exec(text);
  if (forwarded !== null) {
    const [, kind = "", first = "", last = ""] = forwarded;
    readWindow(draft, kind, BigInt(`0x${first}`), BigInt(`0x${last}`));
    return;
  }
  const match = region.exec(text);
  if (match !== null) readRegion(draft, match, text);
}

function readWindow(draft: Draft, kind: string, first: bigint, last: bigint): void {
  if (last < first) return;
  const name = kind === "I/O" ? "io" : kind === "Memory" ? "memory" : "prefetchable";
  const { windows } = draft.record;
  const at = windows.findIndex((known) => known.kind === name);
  if (at < 0) windows.push({ kind: name, first, last });
  else windows[at] = { kind: name, first, last };
}

function readRegion(draft: Draft, match: RegExpExecArray, text: string): void {
  const [, number, what, address = "", notes = ""] = match;
  const kind = what === "Memory" ? "memory" : "io";
  const is64Bit = notes.startsWith("64-bit");
  const index = number === undefined ? draft.nextRegion : Number(number);
  draft.nextRegion = index + (is64Bit ? 2 : 1);
  if (kind === "memory" && number === undefined && draft.record.memoryEnabled === undefined) {
    draft.record.memoryEnabled = !text.includes("[disabled]");
  }
  if (index > 5) return;
  const start = address.startsWith("<") ? 0n : BigInt.asUintN(64, BigInt(`0x${address}`));
  const bar: PciBarInfo = {
    index,
    kind,
    start,
    busStart: start,
    length: sizeOf(text),
    is64Bit,
    prefetchable: kind === "memory" && notes !== "" && !notes.includes("non-prefetchable"),
    ...(number === undefined ? { indexInferred: true as const } : {}),
  };
  const { bars } = draft.record;
  while (bars.length < index) bars.push(undefined);
  bars[index] = bar;
  if (is64Bit && bars.length === index + 1 && index < 5) bars.push(undefined);
}

const size = /\[size=(\d{1,4})([KMGT]?)\]/;
const units: Readonly<Record<string, bigint>> = { "": 0n, K: 10n, M: 20n, G: 30n, T: 40n };

function sizeOf(text: string): bigint | undefined {
  const match = size.exec(text);
  if (match === null) return undefined;
  return BigInt(match[1] ?? 0) << (units[match[2] ?? ""] ?? 0n);
}

const capability = /^Capabilities: \[([0-9a-f]{2,3})(?: v\d+)?\] ?/;

function readCapability(draft: Draft, text: string): void {
  draft.detailed = true;
  if (text.startsWith("Capabilities: <access denied>")) {
    draft.accessDenied = true;
    return;
  }
  const match = capability.exec(text);
  if (match === null) return;
  draft.capabilities += 1;
  if (Number.parseInt(match[1] ?? "", 16) >= 0x100) draft.extended += 1;
  draft.within = "other";
  const name = text.slice(match[0].length);
  if (name.startsWith("Express")) draft.record.portType = portTypeOf(name) ?? draft.record.portType;
  else if (name.startsWith("Access Control Services")) {
    draft.within = "acs";
    draft.acs ??= {
      target: undefined,
      capability: 0,
      control: 0,
      capabilityShown: 0,
      controlShown: 0,
    };
  } else if (name.startsWith("Single Root I/O Virtualization")) draft.within = "sriov";
}

const portNames: readonly (readonly [string, PortType])[] = [
  ["Endpoint", "endpoint"],
  ["Legacy Endpoint", "legacy-endpoint"],
  ["Root Port", "root-port"],
  ["Upstream Port", "switch-upstream"],
  ["Downstream Port", "switch-downstream"],
  ["PCI-Express to PCI", "pcie-to-pci"],
  ["PCI/PCI-X Bridge", "pcie-to-pci"],
  ["PCI/PCI-X to PCI-Express", "pci-to-pcie"],
  ["PCI to PCI Express", "pci-to-pcie"],
  ["Root Complex Integrated Endpoint", "rc-integrated-endpoint"],
  ["Root Complex Event Collector", "rc-event-collector"],
];

function portTypeOf(name: string): PortType | undefined {
  const type = name.replace(/^Express (?:\(v\d+\) )?/, "");
  return portNames.find(([prefix]) => type.startsWith(prefix))?.[1];
}

const linkNow = /Speed ([\d.]{1,5})GT\/s(?: \([a-z]+\))?, Width x(\d{1,2})/;

function readLink(draft: Draft, text: string, which: "max" | "now"): void {
  const match = linkNow.exec(text);
  const { record } = draft;
  if (match === null) return;
  const known = record.link ?? {
    speed: undefined,
    width: undefined,
    maxSpeed: undefined,
    maxWidth: undefined,
  };
  const speed = Number(match[1]);
  const width = Number(match[2]);
  record.link =
    which === "max"
      ? { ...known, maxSpeed: speed, maxWidth: width }
      : {
          ...known,
          speed: width === 0 ? undefined : speed,
          width: width === 0 ? undefined : width,
        };
}

const vfCount = /Number of VFs: (\d{1,5})/;
const vfPlace = /VF offset: (\d{1,5}), stride: (\d{1,5})/;

function readVfs(draft: Draft, text: string): void {
  if (draft.within !== "sriov") return;
  const known = draft.record.sriov ?? { offset: 0, stride: 0, count: 0 };
  const count = vfCount.exec(text);
  if (count !== null) known.count = Number(count[1]);
  const place = vfPlace.exec(text);
  if (place !== null) {
    known.offset = Number(place[1]);
    known.stride = Number(place[2]);
  }
  draft.record.sriov = known;
}

function readAcs(draft: Draft, text: string): void {
  // Filtered listings (`grep ACSCtl`) show the register without the capability's own line.
  draft.acs ??= {
    target: undefined,
    capability: 0,
    control: 0,
    capabilityShown: 0,
    controlShown: 0,
  };
  if (text.startsWith("ACSCap:")) draft.acs.target = "capability";
  else if (text.startsWith("ACSCtl:")) draft.acs.target = "control";
  else return;
  draft.within = "acs";
  readAcsFlags(draft.acs, text);
}

const acsContinuation =
  /^(?:SrcValid|TransBlk|ReqRedir|CmpltRedir|UpstreamFwd|EgressCtrl|DirectTrans)[+-]/;
const acsFlags =
  /\b(SrcValid|TransBlk|ReqRedir|CmpltRedir|UpstreamFwd|EgressCtrl|DirectTrans)([+-])/g;
const acsFlagBits: Readonly<Record<string, number>> = {
  SrcValid: 0x01,
  TransBlk: 0x02,
  ReqRedir: 0x04,
  CmpltRedir: 0x08,
  UpstreamFwd: 0x10,
  EgressCtrl: 0x20,
  DirectTrans: 0x40,
};

function readAcsFlags(acs: AcsDraft | undefined, text: string): void {
  if (acs?.target === undefined) return;
  for (const match of text.matchAll(acsFlags)) {
    const bit = acsFlagBits[match[1] ?? ""] ?? 0;
    const set = match[2] === "+" ? bit : 0;
    if (acs.target === "control") {
      acs.control = (acs.control & ~bit) | set;
      acs.controlShown |= bit;
    } else {
      acs.capability = (acs.capability & ~bit) | set;
      acs.capabilityShown |= bit;
    }
  }
}
