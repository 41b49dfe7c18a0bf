import type { PciAddress } from "../address.js";
import { formatId } from "../hex.js";
import { classNames, deviceNames, vendorNames } from "../pci-names.js";
import type { FunctionRecord } from "../record.js";

/** A header line's address, and where the text behind it begins. */
export interface HeaderLine {
  readonly address: PciAddress;
  readonly rest: number;
}

const COLON = 58;
const DOT = 46;
const SLASH = 47;
const SPACE = 32;

/** Value of a lower-case hexadecimal digit, -1 for anything else: lspci prints addresses in lower case. */
function digit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  return code >= 97 && code <= 102 ? code - 87 : -1;
}

/** Digits from `at`: their count in the low byte, their value above it. Up to 8. */
function hexRun(text: string, at: number, end: number): { count: number; value: number } {
  let value = 0;
  let count = 0;
  for (; at + count < end && count < 9; count += 1) {
    const d = digit(text.charCodeAt(at + count));
    if (d < 0) break;
    value = value * 16 + d;
  }
  return { count, value };
}

/**
 * Reads `00:1f.0 ` or `0000:00:1f.0 ` at `at`, with a path before it as `lspci -PP` prints (`00:01.0/01:00.0`): undefined when the
 * line is something else.
 */
export function parseHeaderLine(text: string, at: number, end: number): HeaderLine | undefined {
  let domain = 0;
  let start = at;
  for (;;) {
    const first = hexRun(text, start, end);
    let next = start + first.count;
    if (text.charCodeAt(next) !== COLON) return undefined;
    let bus = first;
    next += 1;
    const second = hexRun(text, next, end);
    if (text.charCodeAt(next + second.count) === COLON) {
      if (first.count < 4 || first.count > 8) return undefined;
      domain = first.value;
      bus = second;
      next += second.count + 1;
    }
    const device = hexRun(text, next, end);
    const dot = next + device.count;
    const fn = text.charCodeAt(dot + 1) - 48;
    if (bus.count !== 2 || device.count !== 2 || text.charCodeAt(dot) !== DOT) return undefined;
    if (device.value > 31 || !(fn >= 0 && fn <= 7)) return undefined;
    const after = dot + 2 < end ? text.charCodeAt(dot + 2) : SPACE;
    if (after === SLASH) {
      start = dot + 3;
      continue;
    }
    if (after !== SPACE && after !== 9) return undefined;
    const address = { domain, bus: bus.value, slot: device.value, fn };
    return { address, rest: Math.min(dot + 3, end) };
  }
}

/** Bus, device and function with a wrong character in them: a letter for a digit, a comma for the dot. */
const damaged =
  /^(?:[0-9a-z?]{4,8}[:;])?[0-9a-z?]{1,3}[:;][0-9a-z?]{1,3}[.,][0-9a-z?]{1,2}(?=\s|$)/i;

/** Whether a line that {@link parseHeaderLine} does not read was meant to be a header. */
export function looksLikeHeader(line: string): boolean {
  return damaged.test(line);
}

const numeric = /^(?:Class )?([0-9a-f]{4}): ([0-9a-f]{4}):([0-9a-f]{4})(?=$|[\s(])/;
const ids = /\[([0-9a-f]{4}):([0-9a-f]{4})\]$/;
const progIf = /\(prog-if ([0-9a-f]{2})/;
const classNumber = /(?:^Class | \[)([0-9a-f]{4})\]?$/;

/** Fills a record in from the text behind the address: class, IDs and name, in any of `lspci`'s spellings. */
export function readHeaderText(record: FunctionRecord, line: string): void {
  // Longer than any header: a bound for the look-ups below, which try every word end.
  const text = line.slice(0, 1024);
  const interfaceByte = Number.parseInt(progIf.exec(text)?.[1] ?? "0", 16);
  const numbers = numeric.exec(text);
  if (numbers !== null) {
    const [, code = "", vendor = "", device = ""] = numbers;
    record.classCode = Number.parseInt(code, 16) * 256 + interfaceByte;
    record.vendorId = Number.parseInt(vendor, 16);
    record.deviceId = Number.parseInt(device, 16);
    return;
  }
  const colon = text.indexOf(": ");
  const className = colon < 0 ? text : text.slice(0, colon);
  const code = classCodeOf(className.trim());
  if (code !== undefined) record.classCode = code * 256 + interfaceByte;
  if (colon >= 0) readDevice(record, withoutNotes(text.slice(colon + 2)));
}

function classCodeOf(name: string): number | undefined {
  const number = classNumber.exec(name);
  if (number !== null) return Number.parseInt(number[1] ?? "", 16);
  return classNames.get(name);
}

/** Drops `(rev 01)` and `(prog-if 00 [Normal decode])`. */
function withoutNotes(text: string): string {
  let end = text.length;
  for (const note of [" (rev ", " (prog-if "]) {
    const at = text.lastIndexOf(note);
    if (at >= 0 && at < end) end = at;
  }
  return text.slice(0, end).trim();
}

function readDevice(record: FunctionRecord, text: string): void {
  const numbers = ids.exec(text);
  if (numbers !== null) {
    record.vendorId = Number.parseInt(numbers[1] ?? "", 16);
    record.deviceId = Number.parseInt(numbers[2] ?? "", 16);
    record.name = text.slice(0, numbers.index).trim();
    return;
  }
  record.name = text;
  const bare = /^(?:Unknown d|D)evice ([0-9a-f]{4}):([0-9a-f]{4})$/.exec(text);
  if (bare !== null) {
    record.vendorId = Number.parseInt(bare[1] ?? "", 16);
    record.deviceId = Number.parseInt(bare[2] ?? "", 16);
    return;
  }
  const vendor = vendorOf(text);
  if (vendor === undefined) return;
  record.vendorId = vendor.id;
  const device = text.slice(vendor.length).replace(/^: ?/, " ").trim();
  const unnamed = /^(?:Unknown d|D)evice ([0-9a-f]{4})$/.exec(device);
  record.deviceId =
    unnamed !== null
      ? Number.parseInt(unnamed[1] ?? "", 16)
      : deviceNames.get(`${formatId(vendor.id)}:${device}`);
}

/** The longest known vendor name that the text begins with. A name ends at a word boundary. */
function vendorOf(text: string): { id: number; length: number } | undefined {
  for (let end = text.length; end > 0; end = text.lastIndexOf(" ", end - 1)) {
    const id = vendorNames.get(text.slice(0, end)) ?? vendorNames.get(text.slice(0, end - 1));
    if (id === undefined) continue;
    const exact = vendorNames.has(text.slice(0, end));
    if (exact || text.charAt(end - 1) === ":") return { id, length: exact ? end : end - 1 };
  }
  return undefined;
}
