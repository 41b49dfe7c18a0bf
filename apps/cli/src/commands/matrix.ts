import { P2pdma, type P2pdmaDecision, type PciFunctionInfo } from "@peerbar/p2pdma";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { sourceJson } from "../json.js";
import { type Selection, select } from "../select.js";
import { readSubject, type Subject } from "../source.js";
import { makeStyle, type Style } from "../style.js";

export interface MatrixOptions extends Selection {
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
  readonly json?: boolean | undefined;
}

/** `peerbar matrix`: the verdict of every ordered pair of endpoints, each with itself included. */
export async function matrix(io: Io, options: MatrixOptions): Promise<ExitCode> {
  const subject = await readSubject(options);
  const endpoints = select(subject.topology, options);
  const p2pdma = new P2pdma(subject.topology, { cpu: subject.cpu });
  if (options.json === true) writeJson(io, subject, p2pdma, endpoints);
  else writeTable(io, subject, p2pdma, endpoints);
  return exit.ok;
}

/** What one pair is in JSON: the contract of `matrix --json`. */
export function pairJson(decision: P2pdmaDecision): Record<string, unknown> {
  const { provider, client, mapType, possible, mapTypeAsShown, distance, acsRedirect } = decision;
  return {
    provider,
    client,
    mapType,
    ...(possible === undefined ? {} : { possible, mapTypeAsShown }),
    distance,
    acsRedirect,
    ...(decision.acsUnknown === undefined ? {} : { acsUnknown: decision.acsUnknown }),
    ...(decision.hostBridgeUnknown === true ? { hostBridgeUnknown: true } : {}),
    ...(decision.cpuUnknown === true ? { cpuUnknown: true } : {}),
    reason: decision.reason,
    rule: decision.rule,
  };
}

function writeJson(
  io: Io,
  subject: Subject,
  p2pdma: P2pdma,
  endpoints: readonly PciFunctionInfo[],
): void {
  const head = JSON.stringify({
    schemaVersion: 1,
    source: sourceJson(subject),
    cpu: subject.cpu,
  });
  io.out(`${head.slice(0, -1)},"pairs":[\n`);
  let first = true;
  for (const provider of endpoints) {
    // One write a row: a machine with 500 functions has a quarter of a million pairs.
    const row = endpoints.map((client) =>
      JSON.stringify(pairJson(p2pdma.decide(provider, client))),
    );
    io.out(`${first ? "" : ",\n"}${row.join(",\n")}`);
    first = false;
  }
  io.out("\n]}\n");
}

const marks = {
  "bus-addr": "B",
  "thru-host-bridge": "H",
  "not-supported": "-",
  unknown: "?",
} as const;

function writeTable(
  io: Io,
  subject: Subject,
  p2pdma: P2pdma,
  endpoints: readonly PciFunctionInfo[],
): void {
  const style = makeStyle(io.color);
  const cpu = subject.cpuEvidence === "" ? "not shown by the input" : subject.cpuEvidence;
  io.out(
    `${style.bold(subject.topology.source.name)}: ${String(endpoints.length)} endpoints, CPU ${subject.cpu} (${cpu})\n`,
  );
  const labels = endpoints.map((fn) => fn.address);
  const stub = Math.max(...labels.map((label) => label.length));
  const digits = String(endpoints.length).length;
  const perBlock = Math.max(4, Math.floor((io.width - stub - digits - 4) / (digits + 1)));
  for (let from = 0; from < endpoints.length; from += perBlock) {
    const columns = endpoints.slice(from, from + perBlock);
    const numbers = columns.map((_, i) => String(from + i + 1).padStart(digits));
    io.out(`\n${" ".repeat(stub + digits + 3)}${style.dim(numbers.join(" "))}\n`);
    for (const [row, provider] of endpoints.entries()) {
      const cells = columns.map((client) => {
        const { mapType } = p2pdma.decide(provider, client);
        return colored(style, mapType, marks[mapType].padStart(digits));
      });
      const number = style.dim(String(row + 1).padStart(digits));
      io.out(`${number}  ${(labels[row] ?? "").padEnd(stub)} ${cells.join(" ")}\n`);
    }
  }
  io.out(
    `\nRow: provider (whose BAR is reached). Column: client (who issues the DMA), by row number.\n` +
      `B bus address, switch-local   H through the host bridge   - not supported   ? the input cannot tell\n` +
      `For one pair and its reasons use --json with -s, or demo --provider BDF --client BDF.\n`,
  );
}

function colored(style: Style, mapType: keyof typeof marks, text: string): string {
  switch (mapType) {
    case "bus-addr":
      return style.good(text);
    case "thru-host-bridge":
      return style.accent(text);
    case "not-supported":
      return style.bad(text);
    case "unknown":
      return style.warn(text);
  }
}
