import type { Operation } from "../case.js";
import { drop, type ExporterPart, type ImporterPart, type Place } from "./parts.js";

/** Bytes shared in every scenario. */
const SHARED = 0x20_0000;

/** A scenario with its state made. */
export interface Running {
  readonly run: Operation;
  readonly close: () => Promise<void>;
}

/** What is done with every combination, by name. */
export type ScenarioName = "whole life" | "import" | "write 4 KiB" | "write 1 MiB";

export const scenarioNames: readonly ScenarioName[] = [
  "whole life",
  "import",
  "write 4 KiB",
  "write 1 MiB",
];

/** Puts the combination together. @throws what exporter, importer or backend refuse with. */
export async function prepare(
  name: ScenarioName,
  place: Place,
  exporterPart: ExporterPart,
  importerPart: ImporterPart,
): Promise<Running> {
  const exporter = await exporterPart.open(place, SHARED);
  const importer = await importerPart.open(place);
  if (name === "whole life") {
    const run = async (): Promise<void> => {
      const buffer = await exporter.export();
      const imported = await importer.import(buffer);
      await imported.close();
      drop(buffer);
    };
    const close = async (): Promise<void> => {
      await importer.close();
      await exporter.close();
    };
    return { run, close };
  }
  const buffer = await exporter.export();
  if (name === "import") {
    const run = async (): Promise<void> => {
      await (await importer.import(buffer)).close();
    };
    const close = async (): Promise<void> => {
      drop(buffer);
      await importer.close();
      await exporter.close();
    };
    return { run, close };
  }
  const imported = await importer.import(buffer);
  const bytes = new Uint8Array(name === "write 4 KiB" ? 0x1000 : 0x10_0000).fill(0x5a);
  const run = async (): Promise<void> => {
    if (!(await imported.write(0n, bytes))) throw new Error("a write did not arrive");
  };
  const close = async (): Promise<void> => {
    await imported.close();
    drop(buffer);
    await importer.close();
    await exporter.close();
  };
  return { run, close };
}
