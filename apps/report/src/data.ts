import type { CpuKind } from "@peerbar/p2pdma";

/** What a page shows besides the machine. Plain JSON. */
export interface ReportData {
  readonly schemaVersion: 1;
  /** What is assumed of the CPU, and where that is known from; empty where unknown. */
  readonly cpu: CpuKind;
  readonly cpuEvidence: string;
  /** The pair that is shown first; the page picks one where there is none. */
  readonly pair?: { readonly provider: string; readonly client: string };
  readonly episode?: EpisodeData;
}

/** What a page shows that has a run and no machine. */
export interface RunData {
  readonly schemaVersion: 1;
  readonly episode: EpisodeData;
}

/** What happened in one run, in order. */
export interface EpisodeData {
  readonly title: string;
  /** What became of it: `all 40 checks in 12 steps passed`. */
  readonly outcome: string;
  readonly ok: boolean;
  readonly steps: readonly EpisodeStep[];
  /** Events of all rooms; bigints are hex text. */
  readonly events: readonly EpisodeEvent[];
  /** Name of the trace file beside the page. */
  readonly trace?: string;
}

export interface EpisodeStep {
  readonly title: string;
  /** Lines of the story. */
  readonly lines: readonly string[];
  readonly checks: readonly { readonly what: string; readonly ok: boolean }[];
  /** Number of the first event of the step. */
  readonly first: number;
}

/** An event of `@peerbar/core`'s sink as JSON. */
export type EpisodeEvent = { readonly type: string } & Readonly<Record<string, unknown>>;
