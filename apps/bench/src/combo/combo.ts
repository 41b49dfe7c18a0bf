import { writeFileSync } from "node:fs";
import { isDmaBufError } from "@peerbar/core";
import type { Effort, SkippedRow } from "../case.js";
import { Comparison } from "../comparison.js";
import { machineFacts } from "../facts.js";
import { benchPlace } from "../machine.js";
import { measurePair } from "../measure.js";
import { Progress } from "../progress.js";
import { median } from "../statistics.js";
import type { Streams } from "../streams.js";
import { table } from "../table.js";
import { checkWritable } from "../writable.js";
import { AWAITS, awaits } from "../yardstick.js";
import { loadParts } from "./load.js";
import {
  type BackendPart,
  backends,
  type ExporterPart,
  exporters,
  type ImporterPart,
  importers,
} from "./parts.js";
import { prepare, type ScenarioName, scenarioNames } from "./scenarios.js";

/** The parts of `combo` on the command line. */
export interface ComboOptions {
  readonly exporter?: readonly string[] | undefined;
  readonly importer?: readonly string[] | undefined;
  readonly backend?: readonly string[] | undefined;
  readonly json?: string | undefined;
  readonly baseline?: string | undefined;
}

interface Combination {
  readonly exporter: ExporterPart;
  readonly importer: ImporterPart;
  readonly backend: BackendPart;
}

/** One scenario of one combination: rows of the result file, which a baseline is compared by. */
interface ComboRow {
  readonly id: string;
  /** Nanoseconds, and as many awaits of a settled promise. */
  readonly ns: number;
  readonly ratio: number;
  readonly ratios: readonly number[];
}

/** Every exporter with every importer on every backend, the same scenarios for all. A refusal is an answer (0); what breaks is not (1). */
export async function combo(
  options: ComboOptions,
  effort: Effort,
  { out, err }: Streams,
): Promise<number> {
  const chosen = {
    exporters: await loadParts<ExporterPart>("exporter", "open", options.exporter, exporters),
    importers: await loadParts<ImporterPart>("importer", "open", options.importer, importers),
    backends: await loadParts<BackendPart>("backend", "make", options.backend, backends),
  };
  const combinations = chosen.exporters.flatMap((exporter) =>
    chosen.importers.flatMap((importer) =>
      chosen.backends.map((backend) => ({ exporter, importer, backend })),
    ),
  );
  const ids = combinations.flatMap((one) => scenarioNames.map((scenario) => idOf(one, scenario)));
  const comparison =
    options.baseline === undefined ? undefined : new Comparison(options.baseline, ids);
  if (options.json !== undefined) checkWritable(options.json);
  const rows: ComboRow[] = [];
  const skipped: SkippedRow[] = [];
  const progress = new Progress(ids.length, err);
  for (const combination of combinations) {
    for (const scenario of scenarioNames) {
      const id = idOf(combination, scenario);
      progress.start(id);
      const result = await one(id, scenario, combination, effort);
      if ("ns" in result) {
        rows.push(result);
        continue;
      }
      skipped.push(result);
      if (result.failed) progress.say(`FAILED ${id}: ${result.reason}`);
    }
  }
  progress.end();
  out(`${comboTable(combinations, rows, skipped)}\n`);
  if (options.json !== undefined) {
    const [growth, memory] = [[], []];
    const document = { schemaVersion: 3, machine: machineFacts(), rows, growth, memory, skipped };
    writeFileSync(options.json, `${JSON.stringify(document, undefined, 2)}\n`);
  }
  const judged = comparison?.judge({ rows, growth: [], memory: [] }, ids);
  if (judged !== undefined) out(`\n${judged.text}`);
  return judged?.worse === true || skipped.some(({ failed }) => failed === true) ? 1 : 0;
}

function nameOf({ exporter, importer, backend }: Combination): string {
  return `${exporter.name} x ${importer.name} x ${backend.name}`;
}

function idOf(combination: Combination, scenario: ScenarioName): string {
  return `${nameOf(combination)}, ${scenario}`;
}

/** What one part does wrong stays with its combinations: they may be anybody's. */
async function one(
  id: string,
  scenario: ScenarioName,
  { exporter, importer, backend }: Combination,
  effort: Effort,
): Promise<ComboRow | SkippedRow> {
  try {
    const place = benchPlace(backend.make());
    const { run, check, close } = await prepare(scenario, place, exporter, importer);
    const yardstick = { run: awaits, batch: 1, perRun: AWAITS };
    const { ns, ratios } = await measurePair({ run, batch: 10, perRun: 1 }, yardstick, effort);
    await check();
    await close();
    return { id, ns, ratio: median(ratios), ratios };
  } catch (error) {
    if (isDmaBufError(error)) return { id, reason: `${error.code}: ${error.reason}` };
    const reason = error instanceof Error ? error.message : String(error);
    return { id, reason: reason.split("\n", 1)[0] ?? "", failed: true };
  }
}

function comboTable(
  combinations: readonly Combination[],
  rows: readonly ComboRow[],
  skipped: readonly SkippedRow[],
): string {
  const head = ["exporter", "importer", "backend", ...scenarioNames];
  const cell = (id: string): string => {
    const row = rows.find((found) => found.id === id);
    if (row !== undefined) return `${(row.ns / 1000).toFixed(1)} us (${row.ratio.toFixed(0)})`;
    const answer = skipped.find((found) => found.id === id);
    return `${answer?.failed ? "FAILED: " : ""}${answer?.reason ?? ""}`.slice(0, 40);
  };
  const lines = combinations.map((combination) => {
    const { exporter, importer, backend } = combination;
    const cells = scenarioNames.map((scenario) => cell(idOf(combination, scenario)));
    return [exporter.name, importer.name, backend.name, ...cells];
  });
  return `${table(head, lines)}\nin brackets: as many awaits of a settled promise, in the same rounds`;
}
