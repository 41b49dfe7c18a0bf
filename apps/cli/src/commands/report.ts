import { DmaBufError } from "@peerbar/core";
import { type ReportData, renderReport } from "@peerbar/report";
import type { Subject } from "@peerbar/words";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { sourceJson } from "../json.js";
import { readTemplate } from "../report/template.js";
import { readSubject } from "../source.js";
import { makeStyle } from "../style.js";
import { plural } from "../wrap.js";
import { writeAtomically } from "../write-file.js";

export interface ReportOptions {
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
  readonly output?: string | undefined;
  readonly provider?: string | undefined;
  readonly client?: string | undefined;
  readonly json?: boolean | undefined;
}

/** `peerbar report`: the machine as one page that needs no network. */
export async function report(io: Io, options: ReportOptions): Promise<ExitCode> {
  const { output } = options;
  if (output === undefined && options.json === true) {
    throw new DmaBufError("EINVAL", "report", "--json tells of a file, and none is written", {
      hint: "add -o report.html",
    });
  }
  const subject = await readSubject(options);
  const data = dataOf(subject, options);
  const page = renderReport(await readTemplate(), subject.topology, data);
  if (output === undefined) {
    io.out(page);
    await io.drain?.();
    return exit.ok;
  }
  await writeAtomically(output, page);
  tell(io, options, subject, { output, bytes: Buffer.byteLength(page) });
  return exit.ok;
}

function dataOf(subject: Subject, options: ReportOptions): ReportData {
  const { topology, cpu, cpuEvidence } = subject;
  const { provider, client } = options;
  if ((provider === undefined) !== (client === undefined)) {
    throw new DmaBufError("EINVAL", "report", "a pair has a provider and a client", {
      hint: "give both --provider and --client, or neither",
    });
  }
  const pair =
    provider === undefined || client === undefined
      ? {}
      : { pair: { provider: topology.at(provider).address, client: topology.at(client).address } };
  return { schemaVersion: 1, cpu, cpuEvidence, ...pair };
}

function tell(
  io: Io,
  options: ReportOptions,
  subject: Subject,
  written: { readonly output: string; readonly bytes: number },
): void {
  if (options.json === true) {
    io.out(`${JSON.stringify({ schemaVersion: 1, source: sourceJson(subject), ...written })}\n`);
    return;
  }
  const style = makeStyle(io.color);
  const kilobytes = Math.ceil(written.bytes / 1000);
  const { functions } = subject.topology;
  io.out(
    `${style.bold(written.output)}: ${plural(functions.length, "function")}, ${String(kilobytes)} kB in one file; open it in a browser, no network is needed\n`,
  );
}
