import { basename } from "node:path";
import type { Replay } from "@peerbar/conformance/explore";
import { ChromeTrace } from "@peerbar/core";
import { type EpisodeData, renderRun } from "@peerbar/report";
import { writeAtomically } from "../write-file.js";
import { plainEvent, traceBeside } from "./episode.js";
import { readTemplate } from "./template.js";

/** One order of a scenario, step by step, as a page tells it. Events before the first step are the scenario's setting. */
export function replayEpisode(replayed: Replay & { readonly scenario: string }): EpisodeData {
  const { trace, events, failure, scenario } = replayed;
  const firstAt = (step: number): number => {
    const index = events.findIndex((one) => one.step >= step);
    return index < 0 ? events.length : index;
  };
  const steps = trace.map((title, i) => ({ title, lines: [], checks: [], first: firstAt(i + 1) }));
  const setting = { title: "the setting", lines: [], checks: [], first: 0 };
  const outcome =
    failure === undefined
      ? "no failure in this order"
      : `${failure.kind}: ${[failure.message, failure.detail ?? ""].join(" ").trim()}`;
  return {
    title: scenario,
    outcome,
    ok: failure === undefined,
    steps: firstAt(1) > 0 ? [setting, ...steps] : steps,
    events: events.map(({ event }) => plainEvent(event)),
  };
}

/**
 * Writes the page of one order and its trace for Perfetto beside it.
 *
 * @throws DmaBufError as {@link writeAtomically}
 */
export async function writeReplay(
  page: string,
  replayed: Replay & { readonly scenario: string },
): Promise<{ readonly page: string; readonly trace: string }> {
  const beside = traceBeside(page);
  const trace = new ChromeTrace({ process: replayed.scenario });
  for (const { event } of replayed.events) trace.emit(event);
  const episode = { ...replayEpisode(replayed), trace: basename(beside) };
  await writeAtomically(beside, `${JSON.stringify(trace)}\n`);
  await writeAtomically(page, renderRun(await readTemplate(), episode));
  return { page, trace: beside };
}
