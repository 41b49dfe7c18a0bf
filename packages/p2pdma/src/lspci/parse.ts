import type { AssembleOptions } from "../assemble.js";
import { ParseError } from "../parse-error.js";
import { PCI_IDS_VERSION } from "../pci-names.js";
import { plainText } from "../plain-text.js";
import type { FunctionRecord } from "../record.js";
import { readDetail } from "./details.js";
import { type Draft, Drafts } from "./draft.js";
import { finishDraft, type ListingFacts } from "./finish.js";
import { looksLikeHeader, parseHeaderLine, readHeaderText } from "./header.js";
import { foldRepeats, forgetContradictions } from "./repeats.js";

/** What {@link parseLspci} found: records for the assembly, and what to say about the source. */
export interface LspciListing {
  readonly records: readonly FunctionRecord[];
  readonly options: AssembleOptions;
}

const CONFIG_SPACE = 4096;

/**
 * Reads `lspci` output in all its shapes: plain, -v to -vvv, -n, -nn, with and without -D, -x to -xxxx, indented or quoted as in a mail
 * (`> `), with CRLF, broken off, by an ordinary user. Pure; no function found is an empty list.
 *
 * A block whose address cannot be read is left out, with a warning, and what it may have hidden counts as unknown. So does what two
 * blocks of one function disagree in.
 *
 * @param name - of the input, for messages
 * @throws ParseError `EINVAL` when one address is listed as two different devices: the text is of two machines
 */
export function parseLspci(text: string, name: string): LspciListing {
  const reader = new Reader();
  // One pass by hand: split() would copy every line of a megabyte, and most lines say nothing about topology.
  let start = 0;
  for (let line = 1; start <= text.length; line += 1) {
    let end = text.indexOf("\n", start);
    if (end < 0) end = text.length;
    reader.line(text, start, end, line);
    start = end + 1;
  }
  return reader.finish(name);
}

const TAB = 9;
const CR = 13;
const SPACE = 32;
const QUOTE = 34;
const GREATER = 62;
const BAR = 124;

/** A block whose function is not known. Only details below it show that its first line was a header, and no text around the listing. */
interface UnreadableBlock {
  readonly content: string;
  readonly line: number;
  told: boolean;
}

class Reader {
  readonly #drafts = new Drafts();
  readonly #warnings: string[] = [];
  #current: Draft | undefined;
  /** The block that the lines belong to where its header cannot be read. */
  #unreadable: UnreadableBlock | undefined;
  /** Blocks that are lost. */
  #lost = 0;
  /** The line before was blank. */
  #afterBlank = false;
  /** Details are indented here, as lspci prints them: then a line that is not begins a block. */
  #indents = false;
  #headTruncated = false;
  #hexBroken = false;

  line(text: string, start: number, lineEnd: number, line: number): void {
    let at = start;
    let end = lineEnd;
    while (end > at && isBlank(text.charCodeAt(end - 1))) end -= 1;
    for (; at < end; at += 1) {
      const code = text.charCodeAt(at);
      if (code !== SPACE && code !== TAB && code !== GREATER && code !== BAR) break;
    }
    const afterBlank = this.#afterBlank;
    this.#afterBlank = at >= end;
    if (at >= end) {
      if (this.#current !== undefined) this.#current.ended = true;
      return;
    }
    if (isAddressDigit(text.charCodeAt(at))) {
      const header = parseHeaderLine(text, at, end);
      // `lspci -m` quotes its fields; it has no details and is refused as a whole.
      if (header !== undefined && text.charCodeAt(header.rest) !== QUOTE) {
        this.#current = this.#drafts.open(header.address, line);
        this.#unreadable = undefined;
        this.#hexBroken = false;
        readHeaderText(this.#current.record, text.slice(header.rest, end));
        return;
      }
      if (this.#hexLine(text, at, end, line)) return;
    }
    const content = text.slice(at, end);
    const indented = text.charCodeAt(at - 1) === TAB;
    if (looksLikeHeader(content) || (afterBlank && this.#indents && !indented)) {
      this.#lose(content, line);
      return;
    }
    if (this.#current === undefined) {
      if (looksLikeDetail(content)) this.#homeless();
      return;
    }
    if (indented) this.#indents = true;
    this.#current.ended = false;
    readDetail(this.#current, content);
  }

  /** A block begins whose function is not known: what follows belongs to no other. Text around a listing looks the same, and costs nothing. */
  #lose(content: string, line: number): void {
    this.#current = undefined;
    this.#unreadable = { content, line, told: false };
    if (looksLikeHeader(content)) this.#tellLost(this.#unreadable);
  }

  /** A line below a header that is not there: cut off, or not readable. */
  #homeless(): void {
    if (this.#unreadable === undefined) this.#headTruncated = true;
    else this.#tellLost(this.#unreadable);
  }

  #tellLost(block: UnreadableBlock): void {
    if (block.told) return;
    block.told = true;
    this.#lost += 1;
    this.#warnings.push(
      `line ${block.line.toString()}: no PCI address can be read in "${plainText(block.content.slice(0, 40))}"; what follows it is left out`,
    );
  }

  /** `10: 04 00 e0 ...`: true when the line is one, also a broken one. */
  #hexLine(text: string, at: number, end: number, line: number): boolean {
    let offset = 0;
    let digits = 0;
    for (; digits < 4; digits += 1) {
      const d = hexDigit(text.charCodeAt(at + digits));
      if (d < 0) break;
      offset = offset * 16 + d;
    }
    if (digits < 2 || digits > 3 || text.charCodeAt(at + digits) !== 58) return false;
    if (text.charCodeAt(at + digits + 1) !== SPACE) return false;
    const draft = this.#current;
    if (draft === undefined) {
      this.#homeless();
      return true;
    }
    draft.ended = false;
    if (offset === 0) {
      draft.hexLength = 0;
      this.#hexBroken = false;
    }
    if (this.#hexBroken) return true;
    const bytes = draft.hex ?? new Uint8Array(256);
    draft.hex = bytes;
    if (offset !== draft.hexLength) {
      this.#hexBroken = true;
      this.#warnings.push(
        `line ${line.toString()}: hex at 0x${offset.toString(16)} does not follow 0x${draft.hexLength.toString(16)}; the rest of ${draft.record.address} is ignored`,
      );
      return true;
    }
    this.#hexBytes(draft, text, at + digits + 2, end, line);
    return true;
  }

  #hexBytes(draft: Draft, text: string, from: number, end: number, line: number): void {
    for (let at = from; at < end; at += 3) {
      const high = hexDigit(text.charCodeAt(at));
      const low = hexDigit(text.charCodeAt(at + 1));
      const isByte = high >= 0 && low >= 0 && at + 2 <= end;
      if (!isByte || (at + 2 < end && text.charCodeAt(at + 2) !== SPACE)) {
        this.#hexBroken = true;
        this.#warnings.push(
          `line ${line.toString()}: not a byte in the hex of ${draft.record.address}; the rest is ignored`,
        );
        return;
      }
      if (draft.hexLength >= CONFIG_SPACE) return;
      draft.hex = withRoom(draft.hex ?? new Uint8Array(256), draft.hexLength);
      draft.hex[draft.hexLength] = (high << 4) | low;
      draft.hexLength += 1;
    }
  }

  finish(name: string): LspciListing {
    const functions = this.#drafts.functions();
    const facts: ListingFacts = {
      anyExtended: this.#drafts.all.some((draft) => draft.extended > 0),
      anyLongHex: this.#drafts.all.some((draft) => draft.hexLength > 256),
    };
    const records = functions.map((blocks) => this.#record(blocks, facts, name));
    const all = functions.map(([first]) => first);
    const hex = all.some((draft) => draft.hexLength > 0);
    const text = all.some((draft) => draft.detailed);
    return {
      records,
      options: {
        source: {
          format: hex ? (text ? "lspci-text+hex" : "lspci-hex") : "lspci-text",
          name,
          missing: missing(all, records),
          warnings: this.#warnings,
        },
        headTruncated: this.#headTruncated,
        blocksLost: this.#lost > 0,
      },
    };
  }

  #record(blocks: readonly [Draft, ...Draft[]], facts: ListingFacts, name: string): FunctionRecord {
    const [first, ...others] = blocks;
    // Only the last block of the text can be cut off, and one that is says nothing where another is whole.
    const last =
      this.#current !== undefined &&
      blocks.includes(this.#current) &&
      blocks.every((block) => block === this.#current || !(block.detailed || block.hexLength > 0));
    if (last) first.ended = this.#current?.ended === true;
    const found = foldRepeats(blocks);
    if (found.has("identity")) throw twoMachines(name, blocks);
    const record = finishDraft(first, facts, last);
    forgetContradictions(record, found);
    if (found.size > 0) {
      const lines = others.map((block) => block.line.toString()).join(", ");
      this.#warnings.push(
        `${record.address}: listed again (line ${lines}) with different settings (${[...found].join(", ")}); taken as not shown`,
      );
    }
    return record;
  }
}

function twoMachines(name: string, blocks: readonly [Draft, ...Draft[]]): ParseError {
  const [first, ...others] = blocks;
  const other = others.at(-1) ?? first;
  return new ParseError(
    name,
    other.line,
    `${first.record.address} is another device here than in line ${first.line.toString()}`,
    { hint: "this looks like the listings of two machines in one text: give one at a time" },
  );
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB || code === CR;
}

function isAddressDigit(code: number): boolean {
  return (code >= 48 && code <= 57) || (code >= 97 && code <= 102);
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 97 && code <= 102) return code - 87;
  return code >= 65 && code <= 70 ? code - 55 : -1;
}

function withRoom(bytes: Uint8Array, length: number): Uint8Array {
  if (length < bytes.length) return bytes;
  const larger = new Uint8Array(CONFIG_SPACE);
  larger.set(bytes);
  return larger;
}

/** Lines that stand below a header only: before the first one they show that the beginning is missing. */
function looksLikeDetail(content: string): boolean {
  return /^(?:Capabilities: [[<]|Subsystem: |Control: I\/O|Status: Cap|Flags: |Kernel driver in use: |Region \d: )/.test(
    content,
  );
}

/** One sentence for each kind of thing that the listing does not show, with what would show it. */
function missing(drafts: readonly Draft[], records: readonly FunctionRecord[]): string[] {
  const sentences: string[] = [];
  const count = (n: number): string => (n === 1 ? "1 function" : `${n.toString()} functions`);
  const denied = drafts.filter((draft) => draft.accessDenied).length;
  if (denied > 0) {
    sentences.push(`capabilities of ${count(denied)} (access denied): run lspci as root`);
  }
  const plain = drafts.filter((draft) => !draft.detailed && draft.hexLength < 64).length;
  if (plain > 0) {
    sentences.push(`all details of ${count(plain)}: use lspci -vvv as root`);
  }
  const control = drafts.filter(
    (draft) => draft.acs !== undefined && draft.record.acs.state === "unknown",
  ).length;
  if (control > 0) {
    sentences.push(`the ACS control register of ${count(control)}: use lspci -vv as root`);
  }
  const other = records.filter((record) => record.acs.state === "unknown").length;
  const rest = other - denied - plain - control;
  if (rest > 0) {
    sentences.push(
      `the ACS state of ${rest === other ? "" : "another "}${count(rest)}: use lspci -vvv or -xxxx as root`,
    );
  }
  const unnamed = records.filter(
    (record) => record.vendorId === undefined || record.deviceId === undefined,
  );
  if (unnamed.length > 0) {
    sentences.push(
      `the IDs of ${count(unnamed.length)}, named in words that have no number here (names of pci.ids ${PCI_IDS_VERSION}): use lspci -nn`,
    );
  }
  return sentences;
}
