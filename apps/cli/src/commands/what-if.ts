import {
  type ChangedPair,
  whatIf as computeWhatIf,
  type GroupChanges,
  hasIommu,
  type PairAnswer,
  type PciFunctionInfo,
  type PciTopology,
  type WhatIf,
} from "@peerbar/p2pdma";
import { kindOf, type Subject } from "@peerbar/words";
import { type ExitCode, exit } from "../exit.js";
import { type Glyphs, glyphsFor } from "../glyphs.js";
import type { Io } from "../io.js";
import { sourceJson } from "../json.js";
import { colored } from "../mark.js";
import { type Selection, select } from "../select.js";
import { readSubject } from "../source.js";
import { makeStyle } from "../style.js";
import { type EditOptions, parseEdits } from "../what-if-edits.js";
import { paragraph, wrap } from "../wrap.js";

export interface WhatIfOptions extends Selection, EditOptions {
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
  readonly ascii?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** `peerbar what-if`: which pairs and which IOMMU groups differ after edits on a copy of the machine. */
export async function whatIf(io: Io, options: WhatIfOptions): Promise<ExitCode> {
  const subject = await readSubject(options);
  const endpoints = select(subject.topology, options);
  const result = computeWhatIf(subject.topology, parseEdits(options), {
    cpu: subject.cpu,
    members: endpoints,
  });
  if (options.json === true) writeJson(io, subject, result);
  else writeText(io, glyphsFor(io, options.ascii), result, endpoints);
  return exit.ok;
}

function writeJson(io: Io, subject: Subject, result: WhatIf): void {
  const report = {
    schemaVersion: 1,
    source: sourceJson(subject),
    cpu: subject.cpu,
    edits: result.changes,
    assumptions: result.assumptions,
    risks: result.risks,
    pairs: result.pairs,
    iommuGroups: result.groups ?? null,
  };
  io.out(`${JSON.stringify(report, null, 1)}\n`);
}

/** Longer lists are cut in text; --json has them whole. */
const LISTED = 24;

function writeText(
  io: Io,
  glyphs: Glyphs,
  result: WhatIf,
  endpoints: readonly PciFunctionInfo[],
): void {
  const style = makeStyle(io.color);
  const { pairs, groups } = result;
  io.out(`${style.bold("if")}  ${result.changes.join(`\n${style.bold("and")} `)}\n`);
  for (const note of result.assumptions) io.out(style.dim(paragraph(`assumed: ${note}`, io.width)));
  for (const risk of result.risks) io.out(style.bad(paragraph(`RISK: ${risk}`, io.width)));
  const total = endpoints.length ** 2;
  io.out(`\n${style.bold("pairs")}: ${String(pairs.length)} of ${String(total)} change\n`);
  writeSums(io, glyphs, pairs);
  const lines = mergeDirections(pairs);
  for (const { pair, both } of lines.slice(0, LISTED)) {
    const arrow = both ? "<->" : "<- ";
    const names = [pair.provider, pair.client].map((address) => nameIn(endpoints, address));
    const text = (answer: PairAnswer): string =>
      colored(
        style,
        answer.mapType,
        `${answer.mapType} (${answer.mapping}, ${String(answer.distance)})`,
      );
    io.out(
      `  ${names.join(` ${arrow} `)}  ${text(pair.before)} ${glyphs.arrow} ${text(pair.after)}\n`,
    );
  }
  if (lines.length > LISTED) {
    io.out(
      `  ${glyphs.ellipsis} ${String(lines.length - LISTED)} more; --json lists all, --class and -s narrow them\n`,
    );
  }
  writeGroups(io, glyphs, result.after.topology, groups);
}

function writeSums(io: Io, glyphs: Glyphs, pairs: readonly ChangedPair[]): void {
  const sums = new Map<string, number>();
  for (const { before, after } of pairs) {
    if (before.mapType === after.mapType) continue;
    const key = `${before.mapType} ${glyphs.arrow} ${after.mapType}`;
    sums.set(key, (sums.get(key) ?? 0) + 1);
  }
  for (const [key, count] of sums) io.out(`  ${String(count).padStart(5)}  ${key}\n`);
  if (sums.size > 0) io.out("\n");
}

function nameIn(endpoints: readonly PciFunctionInfo[], address: string): string {
  const fn = endpoints.find((one) => one.address === address);
  const kind = fn === undefined ? undefined : kindOf(fn);
  return kind === undefined ? address : `${address} ${kind}`;
}

/** Both directions of a pair on one line where they change alike. */
function mergeDirections(
  pairs: readonly ChangedPair[],
): { readonly pair: ChangedPair; readonly both: boolean }[] {
  const byEnds = new Map(pairs.map((pair) => [`${pair.provider} ${pair.client}`, pair]));
  const merged: { pair: ChangedPair; both: boolean }[] = [];
  const done = new Set<ChangedPair>();
  for (const pair of pairs) {
    if (done.has(pair)) continue;
    const back = byEnds.get(`${pair.client} ${pair.provider}`);
    const both = back !== undefined && back !== pair && sameChange(pair, back);
    if (both) done.add(back);
    merged.push({ pair, both });
  }
  return merged;
}

function sameChange(a: ChangedPair, b: ChangedPair): boolean {
  return JSON.stringify([a.before, a.after]) === JSON.stringify([b.before, b.after]);
}

function writeGroups(
  io: Io,
  glyphs: Glyphs,
  machine: PciTopology,
  groups: GroupChanges | undefined,
): void {
  const style = makeStyle(io.color);
  const on = hasIommu(machine);
  io.out(`\n${style.bold("IOMMU groups")}: `);
  if (groups === undefined) {
    io.out(on === false ? "none before, and none after\n" : "the input shows none\n");
    return;
  }
  const { before, after } = groups;
  if (before.length === 0 && after.length === 0) {
    io.out("no change\n");
    return;
  }
  io.out(`${String(before.length)} become ${String(after.length)}\n`);
  if (on !== true) {
    io.out("  without an IOMMU there are no groups, and vfio cannot use the devices safely\n");
    return;
  }
  for (const members of after.slice(0, LISTED)) {
    for (const [i, line] of wrap(members.join(" "), Math.max(20, io.width - 4)).entries()) {
      io.out(`  ${i === 0 ? "+" : " "} ${line}\n`);
    }
  }
  if (after.length > LISTED) {
    io.out(`  ${glyphs.ellipsis} ${String(after.length - LISTED)} more; --json lists all\n`);
  }
}
