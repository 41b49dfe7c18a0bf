import { hex } from "@peerbar/core";
import { hashText } from "./drift/hash.js";
import { hexNumber } from "./hex.js";
import type { PciTopology } from "./pci-topology.js";
import type { AcsInfo, BridgeWindow, PciBarInfo, PciFunctionInfo } from "./topology.js";

export { parseCapture } from "./capture-parse.js";

/** The only version so far. */
export const CAPTURE_SCHEMA_VERSION = 1;
/** Value of `kind` in a capture: what tells it from other JSON. */
export const CAPTURE_KIND = "peerbar-capture";

function acsText(acs: AcsInfo): unknown {
  if (acs.state === "none") return "none";
  if (acs.state === "unknown") return { unknown: acs.why };
  return { control: hexNumber(acs.control, 4), capability: hexNumber(acs.capability, 4) ?? null };
}

function windowText(window: BridgeWindow): readonly string[] {
  return [window.kind, hex(window.first), hex(window.last)];
}

function barText(bar: PciBarInfo): unknown {
  return {
    index: bar.index,
    kind: bar.kind,
    start: hex(bar.start),
    ...(bar.busStart === bar.start ? {} : { busStart: hex(bar.busStart) }),
    ...(bar.length === undefined ? {} : { length: hex(bar.length) }),
    ...(bar.is64Bit ? { is64Bit: true } : {}),
    ...(bar.prefetchable ? { prefetchable: true } : {}),
    ...(bar.indexInferred === true ? { indexInferred: true } : {}),
  };
}

/** One function as JSON; what is unknown is left out, so that a capture says as little as it knows. */
function functionText(fn: PciFunctionInfo, topology: PciTopology): Record<string, unknown> {
  const parent = topology.functions[fn.parent];
  const physfn = topology.functions[fn.physfn];
  const host = topology.hostBridges[fn.hostBridge];
  const buses = fn.busNumbers;
  const entries: Record<string, unknown> = {
    address: fn.address,
    vendorId: hexNumber(fn.vendorId, 4) ?? null,
    deviceId: hexNumber(fn.deviceId, 4) ?? null,
    classCode: hexNumber(fn.classCode, 6) ?? null,
    name: fn.name,
    headerType: fn.headerType,
    multiFunction: fn.multiFunction,
    portType: fn.portType,
    acs: acsText(fn.acs),
    parent: parent?.address,
    hiddenUpstream: fn.hiddenUpstream,
    physfn: physfn?.address,
    // Only where it is another bus than the function's own.
    rootBus:
      fn.parent < 0 && fn.physfn < 0 && host !== undefined && host.bus !== fn.bus
        ? host.bus
        : undefined,
    busNumbers:
      buses === undefined ? undefined : [buses.primary, buses.secondary, buses.subordinate],
    windows: fn.windows.length === 0 ? undefined : fn.windows.map(windowText),
    bars:
      fn.bars.length === 0
        ? undefined
        : fn.bars.map((bar) => (bar === undefined ? null : barText(bar))),
    noMemoryBars: fn.noMemoryBars,
    memoryEnabled: fn.memoryEnabled,
    numaNode: fn.numaNode,
    iommuGroup: fn.iommuGroup,
    driver: fn.driver,
    link:
      fn.link === undefined
        ? undefined
        : [
            fn.link.speed ?? null,
            fn.link.width ?? null,
            fn.link.maxSpeed ?? null,
            fn.link.maxWidth ?? null,
          ],
    deviceNames: fn.deviceNames.length === 0 ? undefined : fn.deviceNames,
  };
  return Object.fromEntries(
    Object.entries(entries).filter(([, value]) => value !== undefined && value !== null),
  );
}

type Parts = readonly (readonly [key: string, json: string])[];

function partsText(parts: Parts): string {
  return parts.map(([key, json]) => `  "${key}": ${json}`).join(",\n");
}

/** What the machine is, without where it was read from: the part of a capture that its hash covers. */
function bodyText(topology: PciTopology): string {
  const { machine, iommuGroups, hostBridges, functions } = topology;
  const list = (items: readonly unknown[]): string =>
    items.length === 0
      ? "[]"
      : `[\n${items.map((item) => `    ${JSON.stringify(item)}`).join(",\n")}\n  ]`;
  return `${partsText([
    ...(machine === undefined ? [] : [["machine", JSON.stringify(machine)] as const]),
    [
      "hostBridges",
      list(hostBridges.map(({ domain, bus, complete }) => ({ domain, bus, complete }))),
    ],
    ["iommuGroups", list(iommuGroups)],
    ["functions", list(functions.map((fn) => functionText(fn, topology)))],
  ])}\n}\n`;
}

/**
 * A capture of a topology as JSON text: lossless ({@link parseCapture} gives the same topology), deterministic, one function a line
 * so that diffs read well. It holds no serial numbers: the topology has none.
 *
 * `hash` is the SHA-256 of the bytes that follow its line: what the machine is, not where it was read.
 */
export function toCapture(topology: PciTopology): string {
  const body = bodyText(topology);
  const head = partsText([
    ["schemaVersion", CAPTURE_SCHEMA_VERSION.toString()],
    ["kind", JSON.stringify(CAPTURE_KIND)],
    ["source", JSON.stringify(topology.source)],
    ["hash", JSON.stringify(hashText(body))],
  ]);
  return `{\n${head},\n${body}`;
}

/** The `hash` of a topology's capture: equal for equal machines, whatever they were read from. */
export function captureHash(topology: PciTopology): string {
  return hashText(bodyText(topology));
}
