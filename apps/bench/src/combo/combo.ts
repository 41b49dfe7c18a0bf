import { writeFileSync } from "node:fs";
import { isDmaBufError } from "@peerbar/core";
import type { Effort } from "../case.js";
import { machineFacts } from "../facts.js";
import { benchPlace } from "../machine.js";
import { measurePair } from "../measure.js";
import { Progress } from "../progress.js";
import type { Streams } from "../streams.js";
import { table } from "../table.js";
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
}

interface ComboRow {
  readonly exporter: string;
  readonly importer: string;
  readonly backend: string;
  readonly scenario: ScenarioName;
  /** Nanoseconds, and as many awaits of a settled promise; or why it was refused. */
  readonly result: { readonly ns: number; readonly awaits: number } | { readonly refused: string };
}

/** Every exporter with every importer on every backend, the same scenarios for all. Ends with 0; a refusal is an answer. */
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
  const rows: ComboRow[] = [];
  const progress = new Progress(combinations.length * scenarioNames.length, err);
  for (const { exporter, importer, backend } of combinations) {
    const names = { exporter: exporter.name, importer: importer.name, backend: backend.name };
    for (const scenario of scenarioNames) {
      progress.start(`${Object.values(names).join(" x ")}, ${scenario}`);
      const result = await one(scenario, exporter, importer, backend, effort);
      rows.push({ ...names, scenario, result });
    }
  }
  progress.end();
  out(`${comboTable(rows)}\n`);
  if (options.json !== undefined) {
    const document = { schemaVersion: 2, machine: machineFacts(), combo: rows };
    writeFileSync(options.json, `${JSON.stringify(document, undefined, 2)}\n`);
  }
  return 0;
}

async function one(
  scenario: ScenarioName,
  exporter: ExporterPart,
  importer: ImporterPart,
  backend: BackendPart,
  effort: Effort,
): Promise<ComboRow["result"]> {
  try {
    const place = benchPlace(backend.make());
    const { run, close } = await prepare(scenario, place, exporter, importer);
    const yardstick = { run: awaits, batch: 1, perRun: AWAITS };
    const { ns, yardstickNs } = await measurePair({ run, batch: 10, perRun: 1 }, yardstick, effort);
    await close();
    return { ns, awaits: ns / yardstickNs };
  } catch (error) {
    if (!isDmaBufError(error)) throw error;
    return { refused: `${error.code}: ${error.reason}` };
  }
}

function comboTable(rows: readonly ComboRow[]): string {
  const head = ["exporter", "importer", "backend", ...scenarioNames];
  const lines = new Map<string, string[]>();
  for (const { exporter, importer, backend, result } of rows) {
    const key = [exporter, importer, backend].join("\n");
    const line = lines.get(key) ?? [exporter, importer, backend];
    line.push(
      "refused" in result
        ? result.refused.slice(0, 40)
        : `${(result.ns / 1000).toFixed(1)} us (${result.awaits.toFixed(0)})`,
    );
    lines.set(key, line);
  }
  const note = "in brackets: as many awaits of a settled promise, in the same rounds";
  return `${table(head, [...lines.values()])}\n${note}`;
}
