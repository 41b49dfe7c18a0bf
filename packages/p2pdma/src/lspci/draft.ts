import { addressKey, type PciAddress } from "../address.js";
import { emptyRecord, type FunctionRecord } from "../record.js";

/** What the lines under one header have shown so far. Details decide only at the end, when the whole listing is known. */
export interface Draft {
  readonly record: FunctionRecord;
  /** Line of the header, 1-based. */
  line: number;
  /** `Flags:` or `Control:` was there: a listing with -v, whose lack of a line says something. */
  detailed: boolean;
  /** `Status: Cap+` (true) or `Cap-`; undefined where the line is not printed. */
  capabilityList: boolean | undefined;
  accessDenied: boolean;
  /** Lines `Capabilities: [..]`, and those at 0x100 or above. */
  capabilities: number;
  extended: number;
  unknownHeader: boolean;
  hasBuses: boolean;
  acs: AcsDraft | undefined;
  /** The capability whose details follow. */
  within: "acs" | "sriov" | "other" | undefined;
  /** Regions counted so far, for listings that do not number them. */
  nextRegion: number;
  sriovEnabled: boolean | undefined;
  hex: Uint8Array | undefined;
  hexLength: number;
  /** Nothing but a blank line or `Kernel modules:` came last: the function is shown to its end. */
  ended: boolean;
}

/** The ACS lines as far as they are shown: bits, and which bits were printed at all. */
export interface AcsDraft {
  target: "capability" | "control" | undefined;
  capability: number;
  control: number;
  capabilityShown: number;
  controlShown: number;
}

/** A draft for each block of the text; a function that is listed again has several. */
export class Drafts {
  readonly all: Draft[] = [];
  readonly #byKey = new Map<number, [Draft, ...Draft[]]>();

  open(address: PciAddress, line: number): Draft {
    const key = addressKey(address);
    const draft = emptyDraft(address, line);
    this.all.push(draft);
    const known = this.#byKey.get(key);
    if (known === undefined) this.#byKey.set(key, [draft]);
    else known.push(draft);
    return draft;
  }

  /** The blocks of each function, in order of first appearance. */
  functions(): readonly (readonly [Draft, ...Draft[]])[] {
    return [...this.#byKey.values()];
  }
}

function emptyDraft(address: PciAddress, line: number): Draft {
  return {
    record: emptyRecord(address),
    line,
    detailed: false,
    capabilityList: undefined,
    accessDenied: false,
    capabilities: 0,
    extended: 0,
    unknownHeader: false,
    hasBuses: false,
    acs: undefined,
    within: undefined,
    nextRegion: 0,
    sriovEnabled: undefined,
    hex: undefined,
    hexLength: 0,
    ended: false,
  };
}
