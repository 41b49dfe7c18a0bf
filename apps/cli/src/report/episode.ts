import { basename } from "node:path";
import { ChromeTrace, type DmaBufEvent, type EventSink } from "@peerbar/core";
import { type EpisodeData, type EpisodeEvent, renderReport } from "@peerbar/report";
import type { Subject } from "@peerbar/words";
import type { Timeline } from "../demo/timeline.js";
import { writeAtomically } from "../write-file.js";
import { readTemplate } from "./template.js";

/** Bigints as hex text, all else as JSON has it. */
export function plainEvent(event: DmaBufEvent): EpisodeEvent {
  const text = JSON.stringify(event, (_key, value: unknown) =>
    typeof value === "bigint" ? `0x${value.toString(16)}` : value,
  );
  return JSON.parse(text) as EpisodeEvent;
}

/** A sink that keeps a run for its page: the events, and with which of them each step of the story began. */
export class EpisodeRecorder implements EventSink {
  readonly trace = new ChromeTrace({ process: "peerbar demo" });
  readonly #told: Timeline;
  readonly #events: EpisodeEvent[] = [];
  readonly #firsts: number[] = [];

  /** @param told - The story whose steps are kept; nobody else may listen to them. */
  constructor(told: Timeline) {
    this.#told = told;
    told.onStep = () => {
      this.#firsts.push(this.#events.length);
    };
  }

  emit(event: DmaBufEvent): void {
    this.trace.emit(event);
    this.#events.push(plainEvent(event));
  }

  /** What was kept so far. */
  episode(title: string, outcome: string, ok: boolean): EpisodeData {
    const steps = this.#told.steps.map((step, i) => ({
      title: step.title,
      lines: step.lines,
      checks: step.checks.map((check) => ({ what: check.what, ok: check.ok })),
      first: this.#firsts[i] ?? 0,
    }));
    return { title, outcome, ok, steps, events: this.#events };
  }
}

/** `run.trace.json` for `run.html`. */
export function traceBeside(page: string): string {
  return `${page.replace(/\.html?$/i, "")}.trace.json`;
}

/**
 * Writes the page of a run and, beside it, its trace for Perfetto (`run.html` and `run.trace.json`).
 *
 * @throws DmaBufError as {@link writeAtomically}
 */
export async function writeEpisode(
  page: string,
  subject: Subject,
  pair: { readonly provider: string; readonly client: string },
  episode: EpisodeData,
  trace: ChromeTrace,
): Promise<{ readonly page: string; readonly trace: string }> {
  const beside = traceBeside(page);
  const { topology, cpu, cpuEvidence } = subject;
  const html = renderReport(await readTemplate(), topology, {
    schemaVersion: 1,
    cpu,
    cpuEvidence,
    pair,
    episode: { ...episode, trace: basename(beside) },
  });
  await writeAtomically(beside, `${JSON.stringify(trace)}\n`);
  await writeAtomically(page, html);
  return { page, trace: beside };
}
