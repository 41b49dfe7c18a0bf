import {
  computeIommuGroups,
  matrix,
  P2pdma,
  type PairMatrix,
  type PciFunctionInfo,
  type PciTopology,
} from "@peerbar/p2pdma";
import { applyEdits, type Edited, type EditOptions } from "../advice/edit.js";
import { mappingOf } from "../advice/place.js";
import { kindOf } from "../describe.js";
import { type ExitCode, exit } from "../exit.js";
import { type Glyphs, glyphsFor } from "../glyphs.js";
import type { Io } from "../io.js";
import { sourceJson } from "../json.js";
import { colored } from "../mark.js";
import { type Selection, select } from "../select.js";
import { readSubject, type Subject } from "../source.js";
import { makeStyle } from "../style.js";
import { wrap } from "../wrap.js";

export interface WhatIfOptions extends Selection, EditOptions {
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
  readonly ascii?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** One side of a changed pair. */
interface Answer {
  readonly mapType: ReturnType<PairMatrix["mapTypeAt"]>;
  readonly distance: number;
  readonly mapping: string;
}

interface ChangedPair {
  readonly provider: string;
  readonly client: string;
  readonly before: Answer;
  readonly after: Answer;
}

interface ChangedGroups {
  readonly before: readonly (readonly string[])[];
  readonly after: readonly (readonly string[])[];
}

/** `peerbar what-if`: which pairs and which IOMMU groups differ after edits on a copy of the machine. */
export async function whatIf(io: Io, options: WhatIfOptions): Promise<ExitCode> {
  const subject = await readSubject(options);
  const endpoints = select(subject.topology, options);
  const edited = applyEdits(subject.topology, subject.cpu, options);
  const pairs = changedPairs(subject, edited, endpoints);
  const groups = changedGroups(subject.topology, edited);
  if (options.json === true) writeJson(io, subject, edited, pairs, groups);
  else writeText(io, glyphsFor(io, options.ascii), edited, endpoints, pairs, groups);
  return exit.ok;
}

function changedPairs(
  subject: Subject,
  edited: Edited,
  endpoints: readonly PciFunctionInfo[],
): ChangedPair[] {
  const members = endpoints.map((fn) => fn.address);
  const before = matrix(new P2pdma(subject.topology, { cpu: subject.cpu }), members);
  const after = matrix(new P2pdma(edited.topology, { cpu: edited.cpu }), members);
  const kinds = [
    mappingKinds(subject.topology, before, undefined),
    mappingKinds(edited.topology, after, edited.domain),
  ] as const;
  const changed: ChangedPair[] = [];
  for (const [row, provider] of members.entries()) {
    for (const [column, client] of members.entries()) {
      const a = answerAt(before, row, column, kinds[0]);
      const b = answerAt(after, row, column, kinds[1]);
      if (a.mapType !== b.mapType || a.distance !== b.distance || a.mapping !== b.mapping) {
        changed.push({ provider, client, before: a, after: b });
      }
    }
  }
  return changed;
}

type Kinds = (row: number, column: number) => string;

/** Kind of DMA address by pair: decided by map type and client, so a column's are looked up once for each map type. */
function mappingKinds(topology: PciTopology, pairs: PairMatrix, domain: string | undefined): Kinds {
  const known = new Map<string, string>();
  return (row, column) => {
    const key = `${pairs.mapTypeAt(row, column)}/${String(column)}`;
    let kind = known.get(key);
    if (kind === undefined) {
      kind = mappingOf(topology, pairs.decisionAt(row, column), domain).kind;
      known.set(key, kind);
    }
    return kind;
  };
}

function answerAt(pairs: PairMatrix, row: number, column: number, kinds: Kinds): Answer {
  return {
    mapType: pairs.mapTypeAt(row, column),
    distance: pairs.distanceAt(row, column),
    mapping: kinds(row, column),
  };
}

/** Groups that are not the same on both sides, as ACS makes them. Undefined where no IOMMU is known to be on before or after. */
function changedGroups(topology: PciTopology, edited: Edited): ChangedGroups | undefined {
  const had = topology.functions.some((fn) => fn.iommuGroup !== undefined);
  if (!had && !edited.iommu) return undefined;
  const lists = (of: PciTopology, on: boolean): string[][] =>
    on ? computeIommuGroups(of).groups.map((members) => members.map((i) => of.at(i).address)) : [];
  const before = lists(topology, had);
  const after = lists(edited.topology, edited.iommu);
  const keyOf = (members: readonly string[]): string => members.join(" ");
  const keysBefore = new Set(before.map(keyOf));
  const keysAfter = new Set(after.map(keyOf));
  return {
    before: before.filter((members) => !keysAfter.has(keyOf(members))),
    after: after.filter((members) => !keysBefore.has(keyOf(members))),
  };
}

function writeJson(
  io: Io,
  subject: Subject,
  edited: Edited,
  pairs: readonly ChangedPair[],
  groups: ChangedGroups | undefined,
): void {
  const report = {
    schemaVersion: 1,
    source: sourceJson(subject),
    cpu: subject.cpu,
    edits: edited.edits,
    assumptions: edited.notes,
    pairs,
    iommuGroups: groups ?? null,
  };
  io.out(`${JSON.stringify(report, null, 1)}\n`);
}

/** Longer lists are cut in text; --json has them whole. */
const LISTED = 24;

function writeText(
  io: Io,
  glyphs: Glyphs,
  edited: Edited,
  endpoints: readonly PciFunctionInfo[],
  pairs: readonly ChangedPair[],
  groups: ChangedGroups | undefined,
): void {
  const style = makeStyle(io.color);
  io.out(`${style.bold("if")}  ${edited.edits.join(`\n${style.bold("and")} `)}\n`);
  for (const note of edited.notes) {
    for (const line of wrap(note, io.width - 4)) io.out(`    ${style.dim(line)}\n`);
  }
  const total = endpoints.length ** 2;
  io.out(`\n${style.bold("pairs")}: ${String(pairs.length)} of ${String(total)} change\n`);
  writeSums(io, glyphs, pairs);
  const lines = mergeDirections(pairs);
  for (const { pair, both } of lines.slice(0, LISTED)) {
    const arrow = both ? "<->" : "<- ";
    const names = [pair.provider, pair.client].map((address) => nameIn(endpoints, address));
    const text = (answer: Answer): string =>
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
  writeGroups(io, glyphs, edited, groups);
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
  edited: Edited,
  groups: ChangedGroups | undefined,
): void {
  const style = makeStyle(io.color);
  io.out(`\n${style.bold("IOMMU groups")}: `);
  if (groups === undefined) {
    io.out("none shown, and none after\n");
    return;
  }
  const { before, after } = groups;
  if (before.length === 0 && after.length === 0) {
    io.out("no change\n");
    return;
  }
  io.out(`${String(before.length)} become ${String(after.length)}\n`);
  if (!edited.iommu) {
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
