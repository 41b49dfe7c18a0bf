import { assemble } from "./assemble.js";
import { parseCapture } from "./capture.js";
import { parseLspci } from "./lspci/parse.js";
import { ParseError } from "./parse-error.js";
import type { PciTopology } from "./pci-topology.js";

/** How the input is called in messages. */
export interface ParseOptions {
  /** Name of the input, for messages and `topology.source`: a file name. Default `input`. */
  readonly name?: string;
}

const EXPECTED =
  "expected the output of lspci -vvv (best as root), lspci -xxxx, a /sys tree or its .tar.gz, or a peerbar capture";

/**
 * Reads a topology from text, whatever its format: `lspci` text or hex in any shape, or a peerbar capture (JSON). The format is
 * recognised by content. Archives and directories: `readTopology` of `@peerbar/p2pdma/node`.
 *
 * Time and memory are linear in the input. Input that is partly broken gives what can be read, and warnings in `source`.
 *
 * @throws ParseError `EINVAL` when there is no device in the input, or it is something else; `hint` says what was expected
 */
export function parseTopology(input: string | Uint8Array, options: ParseOptions = {}): PciTopology {
  const name = options.name ?? "input";
  const text = typeof input === "string" ? stripMark(input) : decode(input, name);
  const first = /\S/.exec(text)?.[0];
  if (first === undefined) {
    throw new ParseError(name, 1, "the input is empty", { hint: EXPECTED });
  }
  if (first === "{") return parseCapture(text, name);
  const listing = parseLspci(withLineFeeds(text), name);
  if (listing.records.length === 0) throw noDevice(text, name);
  return assemble(listing.records, listing.options);
}

/** Some editors and serial consoles end lines with a carriage return alone: read as one line, only the first device would be there. */
function withLineFeeds(text: string): string {
  return text.includes("\n") ? text : text.replaceAll("\r", "\n");
}

function stripMark(text: string): string {
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}

interface Decoder {
  decode(bytes: Uint8Array): string;
}

/** Every JavaScript runtime has it; the type is not in the language's own library. */
const { TextDecoder } = globalThis as unknown as {
  readonly TextDecoder: new (label: string) => Decoder;
};

function decode(bytes: Uint8Array, name: string): string {
  const [a, b] = bytes;
  if (a === 0x1f && b === 0x8b) {
    throw new ParseError(name, 1, "the input is gzip-compressed", {
      hint: "read it with readTopology() of @peerbar/p2pdma/node, or decompress it first",
    });
  }
  // PowerShell and some terminals write UTF-16.
  if (a === 0xff && b === 0xfe) return stripMark(new TextDecoder("utf-16le").decode(bytes));
  if (a === 0xfe && b === 0xff) return stripMark(new TextDecoder("utf-16be").decode(bytes));
  const head = bytes.subarray(0, 4096);
  if (head.includes(0)) {
    throw new ParseError(name, 1, "the input is binary, not text", { hint: EXPECTED });
  }
  return stripMark(new TextDecoder("utf-8").decode(bytes));
}

function noDevice(text: string, name: string): ParseError {
  const first = /\S.*/.exec(text);
  const line = first === null ? 1 : lineOf(text, first.index);
  const what = otherFormat(text);
  return new ParseError(
    name,
    line,
    what === undefined ? "no PCI device in this text" : `no PCI device in this text: ${what.found}`,
    { hint: what?.hint ?? EXPECTED },
  );
}

function lineOf(text: string, at: number): number {
  let line = 1;
  for (let i = text.indexOf("\n"); i >= 0 && i < at; i = text.indexOf("\n", i + 1)) line += 1;
  return line;
}

/** Formats that people mistake for the right one. The expressions cannot backtrack over more than a line. */
function otherFormat(text: string): { found: string; hint: string } | undefined {
  const head = text.slice(0, 65_536);
  if (/^[ \t]*(?:Slot|Device):[ \t]+[0-9a-f:.]+\r?$/m.test(head) && /^[ \t]*Class:/m.test(head)) {
    return { found: "it looks like lspci -vmm", hint: "use lspci -vvv, without -m" };
  }
  if (/^[ \t>]*[0-9a-f:.]+ "[^"]*" "/m.test(head)) {
    return { found: "it looks like lspci -m", hint: "use lspci -vvv, without -m" };
  }
  if (/^[-+|\\[ \t]+[0-9a-f]{2}\.[0-7]/m.test(head) || /-\[[0-9a-f:]{2,16}\]-/.test(head)) {
    return { found: "it looks like lspci -t", hint: "use lspci -vvv: a tree alone shows no ACS" };
  }
  if (/<system\b[^>]{0,200}>/.test(head) && /<pci\b/.test(head)) {
    return {
      found: "it looks like an NCCL topology file",
      hint: "it shows neither ACS nor host bridges: use lspci -vvv as root",
    };
  }
  if (/^<(?:\?xml|!DOCTYPE|html|topology)/i.test(head.trimStart())) {
    return { found: "it looks like XML or HTML", hint: EXPECTED };
  }
  return undefined;
}
