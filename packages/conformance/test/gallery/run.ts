import type { Check, Entry, Trial } from "./entry.js";

/** How one check ended on one defect. */
export interface TrialResult {
  readonly id: string;
  readonly check: Check;
  readonly names: string;
  /** The finding that names the defect; undefined where the mutant survived. */
  readonly caught: string | undefined;
  /** What the check says of the right code; must be empty. */
  readonly falseAlarms: readonly string[];
  /** Milliseconds until the mutant was judged, on this machine. */
  readonly ms: number;
}

/** Runs one check on the mutant and on the right code. */
export async function runTrial(entry: Entry, trial: Trial): Promise<TrialResult> {
  const start = performance.now();
  const found = await trial.mutant();
  const ms = performance.now() - start;
  return {
    id: entry.id,
    check: trial.check,
    names: trial.names,
    caught: found.find((finding) => finding.includes(trial.names)),
    falseAlarms: await trial.right(),
    ms,
  };
}

/** The table for a terminal: one line a check, survivors marked. */
export function formatResults(entries: readonly Entry[], results: readonly TrialResult[]): string {
  const lines: string[] = [];
  for (const { id, title, absent } of entries) {
    lines.push(`${id.padEnd(4)} ${title}`);
    if (absent !== undefined) lines.push(`       cannot exist here: ${absent}`);
    for (const one of results.filter((result) => result.id === id)) {
      const state = one.caught === undefined ? "SURVIVED" : "caught by";
      const time = `${one.ms.toFixed(0)} ms`;
      lines.push(`       ${state} ${one.check.padEnd(12)} ${time.padStart(8)}  ${one.names}`);
    }
  }
  const caught = entries.filter(({ id }) => results.some((one) => one.id === id && one.caught));
  lines.push(`${String(caught.length)} of ${String(entries.length)} defects caught`);
  return `${lines.join("\n")}\n`;
}
