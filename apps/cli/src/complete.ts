import { classNames } from "@peerbar/words";
import type { ArgumentSpec, OptionSpec, Verb } from "./verb.js";
import { verbs } from "./verbs.js";

/** First line of an answer that asks the shell for its own files or directories. */
const FILES = ":files";
const DIRECTORIES = ":directories";

/** The line so far, taken apart. */
interface Line {
  readonly verb: Verb;
  /** Words between the verb and the one that is typed. */
  readonly before: readonly string[];
  readonly current: string;
}

/**
 * Candidates for the last word of a command line, one a line, with a tab before what it means. The shells' scripts call it as
 * `peerbar __complete WORD...`; it never fails, for a shell has nowhere to show why.
 *
 * @param words - after the program's name; the last one is being typed and may be empty
 */
export async function complete(words: readonly string[]): Promise<string> {
  try {
    return (await candidates(words)).map((line) => `${line}\n`).join("");
  } catch {
    return "";
  }
}

async function candidates(words: readonly string[]): Promise<string[]> {
  const current = words.at(-1) ?? "";
  const at = words.findIndex((word, i) => i < words.length - 1 && !word.startsWith("-"));
  const verb = verbs.find((one) => one.name === words[at]);
  if (at < 0) {
    const all = verbs.map((one) => `${one.name}\t${one.summary}`);
    return starting(
      current.startsWith("-") ? ["--help\tshow help", "--debug\tshow the stack of an error"] : all,
      current,
    );
  }
  if (verb === undefined) return [];
  return inVerb({ verb, before: words.slice(at + 1, -1), current });
}

async function inVerb(line: Line): Promise<string[]> {
  const { verb, before, current } = line;
  const joined = /^(--[a-z-]+)=(.*)$/.exec(current);
  if (joined !== null) {
    const [, flag = "", value = ""] = joined;
    const option = optionOf(verb, flag);
    if (option === undefined) return [];
    const values = await valuesOf(option.completes, value, line);
    return values.map((text) => (text.startsWith(":") ? text : `${flag}=${text}`));
  }
  const owner = optionOf(verb, before.at(-1) ?? "");
  if (owner !== undefined && takesValue(owner)) return valuesOf(owner.completes, current, line);
  if (current.startsWith("-")) return starting(flagsOf(verb), current);
  const argument = verb.arguments?.[argumentsIn(verb, before)];
  if (argument === undefined) return starting(flagsOf(verb), current);
  return valuesOf(argument.completes, current, line);
}

function flagNames(option: OptionSpec): string[] {
  return option.flags
    .replace(/[<[].*$/, "")
    .split(",")
    .map((flag) => flag.trim());
}

function optionOf(verb: Verb, flag: string): OptionSpec | undefined {
  return verb.options.find((option) => flagNames(option).includes(flag));
}

function takesValue(option: OptionSpec): boolean {
  return option.flags.includes("<");
}

function flagsOf(verb: Verb): string[] {
  const own = verb.options.map(
    (option) => `${flagNames(option).at(-1) ?? ""}\t${option.description}`,
  );
  return [...own, "--help\tshow help"];
}

/** How many arguments, not options or their values, are there already. */
function argumentsIn(verb: Verb, words: readonly string[]): number {
  return words.filter((word, i) => {
    const owner = optionOf(verb, words[i - 1] ?? "");
    return !word.startsWith("-") && !(owner !== undefined && takesValue(owner));
  }).length;
}

async function valuesOf(
  completes: ArgumentSpec["completes"],
  current: string,
  line: Line,
): Promise<string[]> {
  if (completes === undefined) return [];
  if (typeof completes !== "string") return starting(completes, current);
  switch (completes) {
    case "file":
      return [FILES];
    case "directory":
      return [DIRECTORIES];
    case "class":
      return inList(classNames, current);
    case "function":
      return line.verb.arguments === undefined
        ? inList(await functions(line), current)
        : starting(await functions(line), current);
    case "edit":
      return edits(current, ["off", "on"], await functions(line));
    case "move":
      return edits(current, await functions(line), await functions(line));
  }
}

/** `ADDRESS=VALUE`, the value once the address is there. */
function edits(current: string, values: readonly string[], addresses: readonly string[]): string[] {
  const [last, head] = lastPart(current);
  const [address, value] = last.split("=");
  if (value === undefined) {
    return starting(addresses, last).map((text) => `${head}${text.split("\t")[0] ?? ""}=`);
  }
  return starting(values, value).map((text) => `${head}${address ?? ""}=${text}`);
}

function inList(values: readonly string[], current: string): string[] {
  const [last, head] = lastPart(current);
  return starting(values, last).map((text) => `${head}${text}`);
}

/** What follows the last comma, and what stands before. */
function lastPart(text: string): readonly [string, string] {
  const at = text.lastIndexOf(",") + 1;
  return [text.slice(at), text.slice(0, at)];
}

/** Addresses may be typed without their domain 0000: they stay so once a colon is there, for shells replace only what follows it. */
function starting(values: readonly string[], current: string): string[] {
  const exact = values.filter((value) => value.startsWith(current));
  if (exact.length > 0 || !/^[0-9a-f]{1,2}(?::[0-9a-f.:]*)?$/i.test(current)) return exact;
  const short = values.filter((value) => value.startsWith(`0000:${current.toLowerCase()}`));
  return current.includes(":") ? short.map((value) => value.slice("0000:".length)) : short;
}

/** Functions of -F FILE on the line, or of this machine: endpoints first, each with its name. */
async function functions({ before }: Line): Promise<string[]> {
  const joined = before.find((word) => word.startsWith("--file="))?.slice("--file=".length);
  const at = before.findLastIndex((word) => word === "-F" || word === "--file");
  const file = joined ?? (at >= 0 ? before[at + 1] : undefined);
  const [{ readSubject }, { nameOf }] = await Promise.all([
    import("./source.js"),
    import("@peerbar/words"),
  ]);
  const { topology } = await readSubject({ file });
  const ends = new Set(topology.endpoints());
  const rest = topology.functions.filter((fn) => !ends.has(fn));
  const listed = [...ends, ...rest].map((fn) => `${fn.address}\t${nameOf(fn)}`);
  const named = topology.functions.flatMap((fn) =>
    fn.deviceNames.map((name) => `${name}\t${fn.address}`),
  );
  return [...listed, ...named];
}
