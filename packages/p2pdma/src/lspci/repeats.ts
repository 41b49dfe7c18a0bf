import { type DecodedConfig, decodeConfigSpace } from "../config-space.js";
import type { FunctionRecord } from "../record.js";
import type { AcsInfo } from "../topology.js";
import type { Draft } from "./draft.js";

/** What two listings of one function in the same text disagree in. */
export type Contradiction = "identity" | "ACS" | "port type" | "bus numbers";

/**
 * Puts the blocks of one function into its first: texts with and without -v, a text and a hex dump, complete each other. What they
 * disagree in is in the result: a text that was put together from two machines, or from one machine at two times.
 */
export function foldRepeats(blocks: readonly [Draft, ...Draft[]]): ReadonlySet<Contradiction> {
  const [first, ...others] = blocks;
  const found = new Set<Contradiction>();
  for (const other of others) {
    for (const what of contradictions(first, other)) found.add(what);
    complete(first, other);
  }
  return found;
}

/** Takes back what the blocks disagree in: the input does not show it. */
export function forgetContradictions(
  record: FunctionRecord,
  found: ReadonlySet<Contradiction>,
): void {
  if (found.has("bus numbers")) record.busNumbers = undefined;
  if (found.has("port type")) record.portType = undefined;
  if (found.has("ACS") || found.has("port type")) {
    record.acs = {
      state: "unknown",
      why: "the input shows this function twice, with different settings",
    };
  }
}

function contradictions(a: Draft, b: Draft): Contradiction[] {
  const [x, y] = [a.record, b.record];
  const found: Contradiction[] = [];
  const [hexA, hexB] = [decoded(a), decoded(b)];
  const differ = (p: unknown, q: unknown): boolean => p !== undefined && q !== undefined && p !== q;
  const kind = (code: number | undefined): number | undefined =>
    code === undefined ? undefined : code >>> 8;
  if (
    differ(x.vendorId ?? hexA?.vendorId, y.vendorId ?? hexB?.vendorId) ||
    differ(x.deviceId ?? hexA?.deviceId, y.deviceId ?? hexB?.deviceId) ||
    differ(kind(x.classCode ?? hexA?.classCode), kind(y.classCode ?? hexB?.classCode))
  ) {
    found.push("identity");
  }
  if (differ(x.portType ?? hexA?.portType, y.portType ?? hexB?.portType)) found.push("port type");
  if (differ(busText(x.busNumbers ?? hexA?.busNumbers), busText(y.busNumbers ?? hexB?.busNumbers)))
    found.push("bus numbers");
  if (differ(acsText(a, hexA), acsText(b, hexB))) found.push("ACS");
  return found;
}

function decoded(draft: Draft): DecodedConfig | undefined {
  if (draft.hex === undefined || draft.hexLength < 16) return undefined;
  return decodeConfigSpace(draft.hex.subarray(0, draft.hexLength));
}

function busText(buses: FunctionRecord["busNumbers"]): string | undefined {
  return buses === undefined
    ? undefined
    : [buses.primary, buses.secondary, buses.subordinate].join();
}

/** The setting that a block shows for certain; undefined where it shows none. */
function acsText(draft: Draft, config: DecodedConfig | undefined): string | undefined {
  const { acs } = draft;
  if (acs !== undefined) return acs.controlShown === 0 ? undefined : acs.control.toString();
  if (config !== undefined && config.acs.state !== "unknown") return stateText(config.acs);
  return draft.extended > 0 && !draft.accessDenied ? "none" : undefined;
}

function stateText(acs: AcsInfo): string {
  return acs.state === "present" ? (acs.control & 0x7f).toString() : acs.state;
}

/** What a later block shows wins, as the more detailed listing usually comes last. */
function complete(into: Draft, from: Draft): void {
  const { record } = into;
  const more = from.record;
  record.vendorId = more.vendorId ?? record.vendorId;
  record.deviceId = more.deviceId ?? record.deviceId;
  record.classCode = more.classCode ?? record.classCode;
  record.name = more.name ?? record.name;
  record.portType = more.portType ?? record.portType;
  record.busNumbers = more.busNumbers ?? record.busNumbers;
  record.memoryEnabled = more.memoryEnabled ?? record.memoryEnabled;
  record.numaNode = more.numaNode ?? record.numaNode;
  record.iommuGroup = more.iommuGroup ?? record.iommuGroup;
  record.driver = more.driver ?? record.driver;
  record.link = more.link ?? record.link;
  record.sriov = more.sriov ?? record.sriov;
  if (more.windows.length > 0) record.windows = more.windows;
  if (more.bars.some((bar) => bar !== undefined)) record.bars = more.bars;
  into.accessDenied = from.detailed
    ? from.accessDenied && (into.accessDenied || !into.detailed)
    : into.accessDenied;
  into.detailed ||= from.detailed;
  into.capabilityList = from.capabilityList ?? into.capabilityList;
  into.capabilities = Math.max(into.capabilities, from.capabilities);
  into.extended = Math.max(into.extended, from.extended);
  into.unknownHeader ||= from.unknownHeader;
  into.hasBuses ||= from.hasBuses;
  into.sriovEnabled = from.sriovEnabled ?? into.sriovEnabled;
  if (into.acs === undefined || (from.acs?.controlShown ?? 0) !== 0)
    into.acs = from.acs ?? into.acs;
  if (from.hexLength > into.hexLength) {
    into.hex = from.hex;
    into.hexLength = from.hexLength;
  }
}
