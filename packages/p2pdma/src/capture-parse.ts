import { parsePciAddress } from "./address.js";
import { assemble, type KnownRoot } from "./assemble.js";
import { Reader } from "./json-reader.js";
import { ParseError } from "./parse-error.js";
import type { PciTopology } from "./pci-topology.js";
import { emptyRecord, type FunctionRecord } from "./record.js";
import {
  type AcsInfo,
  type BridgeWindow,
  type CpuKind,
  type IommuGroupInfo,
  type LinkInfo,
  type MachineInfo,
  type PciBarInfo,
  type PciFunctionInfo,
  type PortType,
  portTypes,
  type TopologyFormat,
  type TopologySource,
} from "./topology.js";

const cpuKinds: readonly CpuKind[] = [
  "amd-zen",
  "amd-old",
  "intel",
  "hygon",
  "arm",
  "power",
  "other",
  "unknown",
];
const formats: readonly TopologyFormat[] = [
  "lspci-text",
  "lspci-hex",
  "lspci-text+hex",
  "sysfs",
  "capture",
  "generated",
];
const ports: readonly string[] = [...Object.keys(portTypes), "none"];

/**
 * Reads a capture that {@link toCapture} wrote. Unknown keys are passed over, so that later versions can add some.
 *
 * @throws ParseError `EINVAL` with the line: not JSON, not a capture, another `schemaVersion`, or a value of the wrong kind
 */
export function parseCapture(text: string, name: string): PciTopology {
  const root = new Reader(parseJson(text, name), { text, name });
  if (root.optional("kind")?.text() !== "peerbar-capture") {
    throw new ParseError(name, 1, "this JSON is not a peerbar capture", {
      hint: 'a capture begins with {"schemaVersion": 1, "kind": "peerbar-capture"}; write one with `peerbar capture`',
    });
  }
  const version = root.key("schemaVersion");
  if (version.integer() !== 1) {
    throw version.error("this capture has a schemaVersion that is not 1", "update peerbar");
  }
  const records = root.key("functions").list().map(readFunction);
  if (records.length === 0) throw root.key("functions").error("the capture has no functions");
  const addresses = new Set<string>();
  for (const record of records) {
    if (addresses.has(record.address)) throw root.error(`${record.address} appears twice`);
    addresses.add(record.address);
  }
  const source = readSource(root.optional("source"), name);
  return assemble(records, {
    source,
    machine: readMachine(root.optional("machine")),
    roots: root.optional("hostBridges")?.list().map(readRoot) ?? [],
    iommuGroups: root.optional("iommuGroups")?.list().map(readGroup) ?? [],
  });
}

function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : "";
    const at = /position (\d+)/.exec(message)?.[1];
    // Without a position the text ended too early.
    const before = text.slice(0, at === undefined ? text.length : Number(at));
    const line = before.split("\n").length;
    throw new ParseError(name, line, "not valid JSON", {
      cause,
      hint: "the file may be cut off: take the capture again",
    });
  }
}

function readSource(reader: Reader | undefined, name: string): TopologySource {
  if (reader === undefined) return { format: "capture", name, missing: [], warnings: [] };
  const texts = (key: string): string[] =>
    reader
      .optional(key)
      ?.list()
      .map((item) => item.text()) ?? [];
  return {
    format: reader.key("format").oneOf(formats),
    name: reader.key("name").text(),
    missing: texts("missing"),
    warnings: texts("warnings"),
  };
}

function readMachine(reader: Reader | undefined): MachineInfo | undefined {
  if (reader === undefined) return undefined;
  const iommu = reader.optional("iommu")?.boolean();
  return {
    cpu: reader.key("cpu").oneOf(cpuKinds),
    cpuEvidence: reader.optional("cpuEvidence")?.text(),
    ...(iommu === undefined ? {} : { iommu }),
  };
}

function readRoot(reader: Reader): KnownRoot {
  return {
    domain: reader.key("domain").integer(0, 0xffff_ffff),
    bus: reader.key("bus").integer(0, 0xff),
    complete: reader.key("complete").boolean(),
  };
}

function readGroup(reader: Reader): IommuGroupInfo {
  return { id: reader.key("id").integer(0), type: reader.optional("type")?.text() };
}

function readFunction(reader: Reader): FunctionRecord {
  const addressReader = reader.key("address");
  const address = parsePciAddress(addressReader.text());
  if (address === undefined) throw addressReader.error("not a PCI address");
  const record = emptyRecord(address);
  record.vendorId = reader.optional("vendorId")?.hexNumber(0xffff);
  record.deviceId = reader.optional("deviceId")?.hexNumber(0xffff);
  record.classCode = reader.optional("classCode")?.hexNumber(0xff_ffff);
  record.name = reader.optional("name")?.text();
  record.headerType = reader.optional("headerType")?.oneOfNumbers([0, 1, 2] as const);
  record.multiFunction = reader.optional("multiFunction")?.boolean();
  record.portType = reader.optional("portType")?.oneOf(ports) as PortType | "none" | undefined;
  record.acs = readAcs(reader.key("acs"));
  record.parentAddress = reader.optional("parent")?.text() ?? null;
  record.hiddenUpstream = reader.optional("hiddenUpstream")?.boolean() ?? false;
  record.physfnAddress = reader.optional("physfn")?.text();
  const rootBus = reader.optional("rootBus")?.integer(0, 0xff);
  if (rootBus !== undefined) record.rootBus = { domain: record.domain, bus: rootBus };
  record.busNumbers = readBuses(reader.optional("busNumbers"));
  record.windows = reader.optional("windows")?.list().map(readWindow) ?? [];
  record.bars = reader.optional("bars")?.list(6).map(readBar) ?? [];
  record.barsShown = reader.optional("noMemoryBars")?.boolean() === true;
  record.memoryEnabled = reader.optional("memoryEnabled")?.boolean();
  record.numaNode = reader.optional("numaNode")?.integer(0);
  record.iommuGroup = reader.optional("iommuGroup")?.integer(0);
  record.driver = reader.optional("driver")?.text();
  record.link = readLink(reader.optional("link"));
  record.deviceNames =
    reader
      .optional("deviceNames")
      ?.list()
      .map((item) => item.text()) ?? [];
  return record;
}

function readAcs(reader: Reader): AcsInfo {
  if (reader.value === "none") return { state: "none" };
  const why = reader.optional("unknown");
  if (why !== undefined) return { state: "unknown", why: why.text() };
  return {
    state: "present",
    control: reader.key("control").hexNumber(0xffff),
    capability: reader.optional("capability")?.hexNumber(0xffff),
  };
}

function readBuses(reader: Reader | undefined): PciFunctionInfo["busNumbers"] {
  if (reader === undefined) return undefined;
  const [primary, secondary, subordinate] = reader.list(3).map((item) => item.integer(0, 0xff));
  if (primary === undefined || secondary === undefined || subordinate === undefined) {
    throw reader.error("expected primary, secondary and subordinate bus number");
  }
  return { primary, secondary, subordinate };
}

function readWindow(reader: Reader): BridgeWindow {
  const [kind, first, last] = reader.list(3);
  if (kind === undefined || first === undefined || last === undefined) {
    throw reader.error("expected kind, first and last address of a window");
  }
  return {
    kind: kind.oneOf(["io", "memory", "prefetchable"] as const),
    first: first.hexBigint(),
    last: last.hexBigint(),
  };
}

function readBar(reader: Reader): PciBarInfo | undefined {
  if (reader.value === null) return undefined;
  const start = reader.key("start").hexBigint();
  const inferred = reader.optional("indexInferred")?.boolean() === true;
  return {
    index: reader.key("index").integer(0, 5),
    kind: reader.key("kind").oneOf(["memory", "io"] as const),
    start,
    busStart: reader.optional("busStart")?.hexBigint() ?? start,
    length: reader.optional("length")?.hexBigint(),
    is64Bit: reader.optional("is64Bit")?.boolean() ?? false,
    prefetchable: reader.optional("prefetchable")?.boolean() ?? false,
    ...(inferred ? { indexInferred: true as const } : {}),
  };
}

function readLink(reader: Reader | undefined): LinkInfo | undefined {
  if (reader === undefined) return undefined;
  const [speed, width, maxSpeed, maxWidth] = reader
    .list(4)
    .map((item) => (item.value === null ? undefined : item.number()));
  return { speed, width, maxSpeed, maxWidth };
}
