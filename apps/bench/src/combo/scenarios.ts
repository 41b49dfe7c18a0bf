import type { DmaBuf } from "@peerbar/core";
import type { Operation } from "../case.js";
import {
  drop,
  type ExporterPart,
  type ImporterPart,
  type OpenExporter,
  type OpenImporter,
  type Place,
} from "./parts.js";
import { readBack } from "./read-back.js";

/** Bytes shared in every scenario. */
const SHARED = 0x20_0000;

/** A scenario with its state made. */
export interface Running {
  readonly run: Operation;
  /** After the last run: what was written is there. @throws Error where it is not. */
  readonly check: () => Promise<void>;
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

/**
 * Puts the combination together, and has it write once what nobody could guess: a time is worth nothing where no byte arrives.
 *
 * @throws what exporter, importer or backend refuse with; Error where bytes do not arrive.
 */
export async function prepare(
  name: ScenarioName,
  place: Place,
  exporterPart: ExporterPart,
  importerPart: ImporterPart,
): Promise<Running> {
  const exporter = await exporterPart.open(place, SHARED);
  const importer = await importerPart.open(place);
  const closeParts = async (): Promise<void> => {
    await importer.close();
    await exporter.close();
  };
  if (name === "whole life") {
    const proof = async (): Promise<void> => {
      const buffer = await exporter.export();
      await prove(place, exporter, importer, buffer);
      drop(buffer);
    };
    await proof();
    const run = async (): Promise<void> => {
      const buffer = await exporter.export();
      const imported = await importer.import(buffer);
      await imported.close();
      drop(buffer);
    };
    return { run, check: proof, close: closeParts };
  }
  const buffer = await exporter.export();
  const proof = (): Promise<void> => prove(place, exporter, importer, buffer);
  await proof();
  if (name === "import") {
    const run = async (): Promise<void> => {
      await (await importer.import(buffer)).close();
    };
    const close = async (): Promise<void> => {
      drop(buffer);
      await closeParts();
    };
    return { run, check: proof, close };
  }
  const imported = await importer.import(buffer);
  const bytes = new Uint8Array(name === "write 4 KiB" ? 0x1000 : 0x10_0000).fill(0x5a);
  const run = async (): Promise<void> => {
    if (!(await imported.write(0n, bytes))) throw new Error("a write did not arrive");
  };
  const check = (): Promise<void> => expectHeld(place, exporter, buffer, bytes);
  const close = async (): Promise<void> => {
    await imported.close();
    drop(buffer);
    await closeParts();
  };
  return { run, check, close };
}

let proofs = 0;

/** Imports once, writes the whole buffer with other bytes than ever before, and looks for them in the exporter's memory. */
async function prove(
  place: Place,
  exporter: OpenExporter,
  importer: OpenImporter,
  buffer: DmaBuf,
): Promise<void> {
  proofs += 1;
  const bytes = new Uint8Array(SHARED);
  for (let at = 0; at < SHARED; at++) bytes[at] = at * 31 + (at >> 8) + proofs;
  const imported = await importer.import(buffer);
  if (!(await imported.write(0n, bytes))) throw new Error("a write did not arrive");
  await expectHeld(place, exporter, buffer, bytes);
  await imported.close();
}

/** @throws Error where the buffer's memory does not begin with these bytes. */
async function expectHeld(
  place: Place,
  exporter: OpenExporter,
  buffer: DmaBuf,
  bytes: Uint8Array,
): Promise<void> {
  const found =
    exporter.peek === undefined
      ? await readBack(place, buffer, bytes.length)
      : await exporter.peek(bytes.length);
  if (Buffer.compare(bytes, found) === 0) return;
  const wrong = bytes.findIndex((byte, i) => byte !== found[i]);
  throw new Error(
    `a write is said to have arrived, but byte ${String(wrong)} of ${String(bytes.length)} is not in the buffer`,
  );
}
