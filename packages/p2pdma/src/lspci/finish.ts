import { type DecodedConfig, decodeConfigSpace } from "../config-space.js";
import type { FunctionRecord } from "../record.js";
import { ACS_REDIRECT, type AcsInfo, type PciBarInfo } from "../topology.js";
import type { Draft } from "./draft.js";

/** What the whole listing shows, which decides what a function's silence means. */
export interface ListingFacts {
  /** Some function shows a capability at 0x100 or above: extended config space could be read. */
  readonly anyExtended: boolean;
  /** Some function shows more than 256 bytes of hex: `lspci -xxxx`, where fewer bytes mean that there are no more. */
  readonly anyLongHex: boolean;
}

/** Turns a draft into a record: text and hex together, hex first where both show a thing. */
export function finishDraft(draft: Draft, facts: ListingFacts, last: boolean): FunctionRecord {
  const { record } = draft;
  const truncated = last && !draft.ended;
  finishText(draft, facts, truncated);
  if (draft.hex !== undefined && draft.hexLength >= 16) {
    const bytes = draft.hex.subarray(0, draft.hexLength);
    const only256 = facts.anyLongHex && draft.hexLength === 256 && !truncated;
    const config = decodeConfigSpace(bytes, { only256 });
    if (config !== undefined) merge(record, config);
  }
  return record;
}

function finishText(draft: Draft, facts: ListingFacts, truncated: boolean): void {
  const { record } = draft;
  if (draft.hasBuses)
    record.headerType = record.classCode === undefined || record.classCode >>> 8 !== 0x0607 ? 1 : 2;
  else if (!draft.unknownHeader) record.headerType = headerTypeOf(record.classCode);
  if (record.portType === undefined && showsAllCapabilities(draft, truncated))
    record.portType = "none";
  record.acs = textAcs(draft, facts, truncated);
  // Regions stand before capabilities: a block that has come to those has shown all. One without any may have been abridged.
  record.barsShown =
    record.bars.some((bar) => bar !== undefined) && (!truncated || draft.capabilities > 0);
}

function headerTypeOf(classCode: number | undefined): FunctionRecord["headerType"] {
  const kind = classCode === undefined ? undefined : classCode >>> 8;
  if (kind === 0x0604) return 1;
  return kind === 0x0607 ? 2 : 0;
}

/** True when a capability that is not listed is not there. */
function showsAllCapabilities(draft: Draft, truncated: boolean): boolean {
  if (!draft.detailed || draft.accessDenied || draft.unknownHeader) return false;
  if (draft.capabilityList === false) return true;
  if (truncated) return false;
  return draft.capabilities > 0 || draft.capabilityList === undefined;
}

function textAcs(draft: Draft, facts: ListingFacts, truncated: boolean): AcsInfo {
  const { acs, record } = draft;
  const unknown = (why: string): AcsInfo => ({ state: "unknown", why });
  if (acs !== undefined) {
    if ((acs.controlShown & ACS_REDIRECT) === ACS_REDIRECT) {
      const capability = acs.capabilityShown === 0 ? undefined : acs.capability;
      return { state: "present", control: acs.control, capability };
    }
    return unknown(
      "the listing names the ACS capability but not its control register: lspci -vv prints it",
    );
  }
  if (draft.unknownHeader) return unknown("its config space cannot be read (all ones)");
  if (draft.accessDenied)
    return unknown("capabilities are not shown (access denied): run lspci as root");
  if (record.portType === "none") return { state: "none" };
  if (!showsAllCapabilities(draft, truncated)) {
    return unknown(
      draft.detailed
        ? "the listing breaks off before the end of this function's capabilities"
        : "the listing shows no capabilities: lspci -vvv as root prints them",
    );
  }
  if (!facts.anyExtended) {
    return unknown(
      "no function of this listing shows an extended capability: its config space was not readable that far",
    );
  }
  return { state: "none" };
}

/** Hex is what the text was printed from, so it wins; sizes, names and CPU addresses are in the text only. */
function merge(record: FunctionRecord, config: DecodedConfig): void {
  record.vendorId = config.vendorId ?? record.vendorId;
  record.deviceId = config.deviceId ?? record.deviceId;
  record.classCode = config.classCode ?? record.classCode;
  record.headerType = config.headerType;
  record.multiFunction = config.multiFunction;
  record.memoryEnabled = config.memoryEnabled ?? record.memoryEnabled;
  record.busNumbers = config.busNumbers;
  if (config.windows.length > 0) record.windows = [...config.windows];
  record.portType = config.portType ?? record.portType;
  record.link = config.link ?? record.link;
  record.sriov = config.sriov ?? record.sriov;
  if (config.acs.state !== "unknown" || record.acs.state === "unknown") {
    record.acs =
      config.acs.state === "unknown" && record.acs.state === "unknown"
        ? preferText(record.acs, config.acs)
        : config.acs;
  }
  mergeBars(record, config);
}

/** Of two reasons the text's tells what to do, unless it only says that there is no text. */
function preferText(text: AcsInfo, hex: AcsInfo): AcsInfo {
  return text.state === "unknown" && text.why.startsWith("the listing shows no") ? hex : text;
}

function mergeBars(record: FunctionRecord, config: DecodedConfig): void {
  const shown = record.bars.filter((bar) => bar !== undefined);
  const bars: (PciBarInfo | undefined)[] = [];
  for (const [index, bar] of config.bars.entries()) {
    if (bar === undefined) {
      bars.push(undefined);
      continue;
    }
    // Without region numbers the address tells which line is which register.
    const text =
      shown.find((known) => known.indexInferred !== true && known.index === index) ??
      shown.find((known) => known.indexInferred === true && known.start === bar.busStart);
    const start = text?.start ?? bar.busStart;
    bars.push({
      index,
      kind: bar.kind,
      start,
      busStart: bar.busStart === 0n ? start : bar.busStart,
      length: text?.length,
      is64Bit: bar.is64Bit,
      prefetchable: bar.prefetchable,
    });
  }
  // A VF's registers read as zero: its BARs are in the text only.
  for (const bar of shown) {
    if (bars[bar.index] !== undefined || bar.indexInferred === true) continue;
    while (bars.length <= bar.index) bars.push(undefined);
    bars[bar.index] = bar;
  }
  if (bars.some((bar) => bar !== undefined) || shown.length === 0) record.bars = bars;
}
