import { readFile } from "node:fs/promises";
import { type Exploration, merge, type Shard, strategies } from "@peerbar/conformance/explore";
import { DmaBufError } from "@peerbar/core";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { makeProgress } from "../progress.js";
import type { OptionValues } from "../verb.js";
import type { Request, Results, Timed } from "./session.js";
import { explorationText, replayText } from "./text.js";
import { runInThread } from "./thread.js";

/** Units of the progress bar where the end of the search is an estimate. */
const SHARES = 1000;

/** `peerbar explore FILE` and `peerbar explore --merge FILES`. */
export async function explore(
  io: Io,
  options: OptionValues,
  files: readonly string[],
): Promise<ExitCode> {
  const results =
    options.merge === true ? await mergeFiles(files) : await exploreFile(options, files);
  if (options.json === true) {
    const source = {
      name: files.join(" ") || "shipped",
      format: options.merge === true ? "json" : "module",
    };
    io.out(`${JSON.stringify({ schemaVersion: 1, source, ...results }, plain, 2)}\n`);
  } else {
    io.out(results.explorations.map((one) => explorationText(one, files)).join("\n"));
    if (options.replay !== undefined) {
      for (const one of results.replays) io.out(replayText(one));
    }
  }
  const report = text(options.report);
  if (report !== undefined) await writeReport(io, report, results, options.json === true);
  const found =
    results.explorations.some(({ failures }) => failures.length > 0) ||
    results.replays.some(({ failure }) => failure !== undefined);
  return found ? exit.no : exit.ok;
}

/** The page of the order that was replayed, or of the first failure. */
async function writeReport(
  io: Io,
  report: string,
  { replays: [first] }: Results,
  json: boolean,
): Promise<void> {
  if (first === undefined) {
    io.err("peerbar: explore: no --report is written: no failure was found, and none replayed\n");
    return;
  }
  const { writeReplay } = await import("../report/replay.js");
  const written = await writeReplay(report, first);
  if (!json) io.out(`report: ${written.page}\ntrace:  ${written.trace}\n`);
}

async function exploreFile(options: OptionValues, files: readonly string[]): Promise<Results> {
  const [file, second] = files;
  if (second !== undefined) throw invalid("one module is explored at a time");
  const request = requestOf(options, file);
  const hang = wholeNumber(options, "hang") ?? 30;
  const stop = new AbortController();
  const interrupt = (): void => {
    stop.abort();
  };
  process.once("SIGINT", interrupt);
  const bar = makeProgress("interleavings");
  const { runs = 1_000_000 } = request.options;
  try {
    return await runInThread(
      request,
      hang,
      (_scenario, { interleavings, share }) => {
        const known = share !== undefined && share > 1 / SHARES;
        bar.update(interleavings, known ? Math.ceil(interleavings / share) : runs);
      },
      stop.signal,
    );
  } finally {
    bar.stop();
    process.removeListener("SIGINT", interrupt);
  }
}

function requestOf(options: OptionValues, file: string | undefined): Request {
  const strategy = strategies.find((name) => name === (options.strategy ?? "exhaustive"));
  if (strategy === undefined) {
    throw invalid(`no strategy "${String(options.strategy)}"`, strategies.join(", "));
  }
  const bound = wholeNumber(options, "bound");
  if (bound !== undefined && strategy !== "exhaustive") {
    throw invalid(`a bound is for exhaustive, not for ${strategy}`);
  }
  return {
    file,
    only: text(options.only),
    replay: text(options.replay),
    report: options.report !== undefined,
    options: {
      strategy,
      bound,
      runs: atLeastOne(options, "runs"),
      seed: wholeNumber(options, "seed"),
      maxFailures: atLeastOne(options, "failures"),
      shard: shardOf(text(options.shard)),
    },
  };
}

function shardOf(given: string | undefined): Shard | undefined {
  if (given === undefined) return undefined;
  const found = /^(\d{1,6})\/(\d{1,6})$/.exec(given);
  const index = Number(found?.[1] ?? -1);
  const count = Number(found?.[2] ?? 0);
  if (index < 0 || index >= count) throw invalid(`no shard "${given}"`, "0/4 to 3/4, for instance");
  return { index, count };
}

function wholeNumber(options: OptionValues, name: string): number | undefined {
  const given = text(options[name]);
  if (given === undefined) return undefined;
  const value = Number(given);
  if (!/^\d+$/.test(given) || !Number.isSafeInteger(value)) {
    throw invalid(`--${name} ${given} is no whole number`);
  }
  return value;
}

/** Of nothing nothing is found, which would read as a good end. */
function atLeastOne(options: OptionValues, name: string): number | undefined {
  const value = wholeNumber(options, name);
  if (value === 0) throw invalid(`--${name} 0 would try nothing`, "give 1 or more");
  return value;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

async function mergeFiles(files: readonly string[]): Promise<Results> {
  if (files.length === 0) {
    throw invalid("--merge has nothing to join", "name the --json results of the shards");
  }
  const byName = new Map<string, Timed[]>();
  for (const file of files) {
    for (const one of await readResults(file)) {
      const parts = byName.get(one.scenario) ?? [];
      parts.push(one);
      byName.set(one.scenario, parts);
    }
  }
  const explorations = [...byName.values()].map((parts): Timed => {
    try {
      const seconds = parts.reduce((sum, part) => sum + part.seconds, 0);
      return { ...merge(parts), seconds };
    } catch (cause) {
      if (!(cause instanceof TypeError)) throw cause;
      throw new DmaBufError(
        "EINVAL",
        "explore",
        `these are not shards of one search: ${cause.message}`,
        {
          cause,
        },
      );
    }
  });
  return { explorations, replays: [] };
}

async function readResults(file: string): Promise<readonly Timed[]> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(await readFile(file, "utf8"));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DmaBufError("EINVAL", "explore", `${file} cannot be read: ${reason}`, { cause });
  }
  const { explorations } = (parsed ?? {}) as { explorations?: unknown };
  if (!Array.isArray(explorations) || !explorations.every(isTimed)) {
    throw invalid(
      `${file} is no result of explore`,
      "make it with: peerbar explore FILE --shard i/n --json",
    );
  }
  return explorations;
}

function isTimed(value: unknown): value is Timed {
  if (typeof value !== "object" || value === null) return false;
  const one = value as Partial<Exploration & { seconds: number }>;
  const numbers = [one.interleavings, one.pruned, one.steps, one.classes, one.states, one.seconds];
  return (
    one.schemaVersion === 1 &&
    typeof one.scenario === "string" &&
    numbers.every((number) => typeof number === "number") &&
    Array.isArray(one.failures) &&
    Array.isArray(one.lockOrder) &&
    Array.isArray(one.shards?.done)
  );
}

/** Events may carry 64-bit numbers. */
function plain(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

function invalid(reason: string, hint?: string): DmaBufError {
  return new DmaBufError("EINVAL", "explore", reason, hint === undefined ? {} : { hint });
}
