import { DmaBufError } from "@peerbar/core";
import {
  matrix as makeMatrix,
  P2pdma,
  type P2pdmaDecision,
  type PairMatrix,
  type PciFunctionInfo,
} from "@peerbar/p2pdma";
import { kindOf, marks, type Subject } from "@peerbar/words";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { sourceJson } from "../json.js";
import { colored, legend } from "../mark.js";
import { csvHeader, pairCsv, pairJson } from "../pair-json.js";
import { PairTexts } from "../pair-texts.js";
import { type Selection, select } from "../select.js";
import { readSubject } from "../source.js";
import { sourceNotes } from "../source-notes.js";
import { makeStyle } from "../style.js";
import { paragraph, plural } from "../wrap.js";

export interface MatrixOptions extends Selection {
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
  readonly json?: boolean | undefined;
  readonly csv?: boolean | undefined;
  readonly dot?: boolean | undefined;
}

/** What every form of the output is made from. */
interface Answers {
  readonly subject: Subject;
  readonly endpoints: readonly PciFunctionInfo[];
  readonly pairs: PairMatrix;
}

/** `peerbar matrix`: the verdict of every ordered pair of endpoints, each with itself included. */
export async function matrix(io: Io, options: MatrixOptions): Promise<ExitCode> {
  const forms = (["json", "csv", "dot"] as const).filter((form) => options[form] === true);
  if (forms.length > 1) {
    throw new DmaBufError("EINVAL", "matrix", `--${forms.join(" and --")} exclude each other`, {
      hint: "choose one form of output",
    });
  }
  const subject = await readSubject(options);
  const endpoints = select(subject.topology, options);
  const p2pdma = new P2pdma(subject.topology, { cpu: subject.cpu });
  const answers = { subject, endpoints, pairs: makeMatrix(p2pdma, endpoints) };
  switch (forms[0]) {
    case "json":
      await writeJson(io, answers);
      break;
    case "csv":
      await writeCsv(io, answers);
      break;
    case "dot":
      (await import("../dot.js")).writeDot(io, subject.topology, endpoints, answers.pairs);
      break;
    case undefined:
      writeTable(io, answers);
  }
  return exit.ok;
}

async function writeJson(io: Io, answers: Answers): Promise<void> {
  const { subject } = answers;
  const head = JSON.stringify({
    schemaVersion: 1,
    source: sourceJson(subject),
    cpu: subject.cpu,
  });
  io.out(`${head.slice(0, -1)},"pairs":[\n`);
  const write = (decision: P2pdmaDecision): string => JSON.stringify(pairJson(decision));
  await writeRows(io, answers, write, ",\n", "");
  io.out("\n]}\n");
}

async function writeCsv(io: Io, answers: Answers): Promise<void> {
  io.out(`${csvHeader}\n`);
  await writeRows(io, answers, pairCsv, "\n", "\n");
}

/** One write a row, no faster than it is read: a machine with 500 functions has a quarter of a million pairs. */
async function writeRows(
  io: Io,
  { subject, pairs }: Answers,
  write: (decision: P2pdmaDecision) => string,
  between: string,
  end: string,
): Promise<void> {
  const texts = new PairTexts(subject.topology, pairs, write);
  for (let row = 0; row < pairs.size; row += 1) {
    io.out(`${row === 0 ? "" : between}${texts.row(row).join(between)}`);
    await io.drain?.();
  }
  io.out(end);
}

function writeTable(io: Io, { subject, endpoints, pairs }: Answers): void {
  const style = makeStyle(io.color);
  const cpu = subject.cpuEvidence === "" ? "not shown by the input" : subject.cpuEvidence;
  io.out(
    `${style.bold(subject.topology.source.name)}: ${plural(endpoints.length, "endpoint")}, CPU ${subject.cpu} (${cpu})\n`,
  );
  const kinds = endpoints.map((fn) => kindOf(fn) ?? "");
  const kindWidth = Math.max(...kinds.map((kind) => kind.length));
  const stub = Math.max(...endpoints.map((fn) => fn.address.length));
  const digits = String(endpoints.length).length;
  const labelWidth = digits + 2 + stub + 1 + (kindWidth === 0 ? 0 : kindWidth + 1);
  const perBlock = Math.max(4, Math.floor((io.width - labelWidth) / (digits + 1)));
  for (let from = 0; from < endpoints.length; from += perBlock) {
    const to = Math.min(from + perBlock, endpoints.length);
    const numbers = Array.from({ length: to - from }, (_, i) =>
      String(from + i + 1).padStart(digits),
    );
    io.out(`\n${" ".repeat(labelWidth)}${style.dim(numbers.join(" "))}\n`);
    for (const [row, provider] of endpoints.entries()) {
      const cells: string[] = [];
      for (let column = from; column < to; column += 1) {
        const mapType = pairs.mapTypeAt(row, column);
        cells.push(colored(style, mapType, marks[mapType].padStart(digits)));
      }
      const number = style.dim(String(row + 1).padStart(digits));
      const kind = kindWidth === 0 ? "" : `${style.dim((kinds[row] ?? "").padEnd(kindWidth))} `;
      io.out(`${number}  ${provider.address.padEnd(stub)} ${kind}${cells.join(" ")}\n`);
    }
  }
  const sums = pairs.counts();
  const total = (Object.keys(marks) as (keyof typeof marks)[])
    .filter((mapType) => sums[mapType] > 0)
    .map((mapType) => `${String(sums[mapType])} ${marks[mapType]}`);
  const { width } = io;
  io.out("\n");
  io.out(
    paragraph(
      "Row: provider (whose BAR is reached). Column: client (who issues the DMA), by row number.",
      width,
    ),
  );
  io.out(paragraph(legend, width));
  io.out(
    paragraph(
      `${plural(pairs.size ** 2, "pair")}: ${total.join(", ")}. One pair and its reasons: peerbar why PROVIDER CLIENT`,
      width,
    ),
  );
  for (const note of sourceNotes(subject.topology.source)) {
    io.out(style.warn(paragraph(note, width)));
  }
}
