import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DmaBufError } from "@peerbar/core";
import { classify, classOf, type GivenReference, KindCaptures, Kinds } from "../audit/classes.js";
import { capturePaths, parseShard } from "../audit/inputs.js";
import { Ledger } from "../audit/ledger.js";
import { makeReaders, type Readers } from "../audit/pool.js";
import { CaptureReader, isReading, type ReadResult, stampOf } from "../audit/reading.js";
import { type Account, JsonReport, type Report, TextReport } from "../audit/report.js";
import type { ExitCode } from "../exit.js";
import type { Io } from "../io.js";
import { makeProgress } from "../progress.js";

export interface AuditOptions {
  readonly ledger?: string | undefined;
  readonly merge?: boolean | undefined;
  readonly shard?: string | undefined;
  readonly jobs?: string | undefined;
  readonly reference?: string | undefined;
  readonly linkSpeed?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** `peerbar audit`: which machines of a fleet are alike, and how the others differ from their class. */
export async function audit(
  io: Io,
  options: AuditOptions,
  args: readonly string[],
): Promise<ExitCode> {
  if (args.length === 0) {
    throw new DmaBufError("EINVAL", "audit", "no captures were named", {
      hint: "name captures, a directory of captures, a quoted pattern, or - for paths on standard input",
    });
  }
  const linkSpeed = options.linkSpeed === true;
  const readers = makeReaders(parseJobs(options.jobs), { linkSpeed });
  const report = options.json === true ? new JsonReport(io) : new TextReport(io);
  try {
    const given =
      options.reference === undefined
        ? undefined
        : await readReference(options.reference, linkSpeed);
    if (options.merge === true) return await merge(args, options, { readers, report, given });
    return await readAll(args, options, { readers, report, given });
  } finally {
    await readers.close();
  }
}

/** What tells the result. */
interface Teller {
  readonly readers: Readers;
  readonly report: Report;
  readonly given: GivenReference | undefined;
}

async function readReference(path: string, linkSpeed: boolean): Promise<GivenReference> {
  const { outcome, capture } = await new CaptureReader().read(path, "", { linkSpeed });
  if (!isReading(outcome) || capture === undefined) {
    throw new DmaBufError("EINVAL", "--reference", isReading(outcome) ? path : outcome.error, {
      hint: "name a capture of a machine that is as it should be",
    });
  }
  const { kind, shape, hidden } = outcome;
  return { kind: { kind, shape, hidden, count: 0, paths: [path] }, side: { name: path, capture } };
}

async function merge(
  paths: readonly string[],
  options: AuditOptions,
  teller: Teller,
): Promise<ExitCode> {
  if (options.ledger !== undefined || options.shard !== undefined) {
    throw new DmaBufError(
      "EINVAL",
      "audit",
      "--merge reads ledgers and takes no --ledger or --shard",
      {
        hint: "name the ledgers of all shards: peerbar audit --merge shard-*.jsonl",
      },
    );
  }
  const ledgers: Ledger[] = [];
  try {
    const linkSpeed = options.linkSpeed === true;
    for (const path of paths) ledgers.push(await Ledger.open(path, { mustExist: true, linkSpeed }));
    return await tell(ledgers, teller);
  } finally {
    for (const ledger of ledgers) await ledger.close();
  }
}

async function readAll(
  args: readonly string[],
  options: AuditOptions,
  teller: Teller,
): Promise<ExitCode> {
  const shard = parseShard(options.shard);
  const scratch =
    options.ledger === undefined ? await mkdtemp(join(tmpdir(), "peerbar-audit-")) : undefined;
  try {
    const path = options.ledger ?? join(scratch ?? "", "ledger.jsonl");
    const ledger = await Ledger.open(path, { linkSpeed: options.linkSpeed === true });
    try {
      await fill(ledger, capturePaths(args, shard), teller.readers);
      return await tell([ledger], teller);
    } finally {
      await ledger.close();
    }
  } finally {
    if (scratch !== undefined) await rm(scratch, { recursive: true, force: true });
  }
}

/** Reads what the ledger does not have yet, in order, a few ahead. */
async function fill(ledger: Ledger, paths: AsyncIterable<string>, readers: Readers): Promise<void> {
  const progress = makeProgress("captures");
  const ahead: Promise<ReadResult>[] = [];
  let found = 0;
  let done = 0;
  const settle = async (): Promise<void> => {
    const result = await ahead.shift();
    if (result !== undefined) await ledger.add(result);
    done += 1;
    progress.update(done, found);
  };
  try {
    for await (const path of paths) {
      found += 1;
      const stamp = await stampOf(path);
      if (ledger.has(path, stamp)) done += 1;
      else ahead.push(readers.read(path, stamp));
      if (ahead.length >= readers.jobs * 8) await settle();
    }
    while (ahead.length > 0) await settle();
  } finally {
    await Promise.allSettled(ahead);
    await ledger.flush();
    progress.stop();
  }
}

async function tell(
  ledgers: readonly Ledger[],
  { readers, report, given }: Teller,
): Promise<ExitCode> {
  const kinds = new Kinds();
  for (const ledger of ledgers) {
    for await (const outcome of ledger.outcomes()) kinds.add(outcome);
  }
  if (kinds.captures + kinds.unread === 0) {
    throw new DmaBufError("ENODATA", "audit", "there are no captures", {
      hint: "name a directory with captures; a shard may be empty where there are few",
    });
  }
  const captures = new KindCaptures(ledgers, given);
  const account: Account = {
    ledgers,
    kinds,
    captures,
    readers,
    classes: given === undefined ? await classify(kinds, captures) : [classOf(kinds, given)],
  };
  return report.write(account);
}

function parseJobs(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
  throw new DmaBufError("EINVAL", "--jobs", `"${text}" is no number of threads`, {
    hint: "give a number from 1 to 999",
  });
}
