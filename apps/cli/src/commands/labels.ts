import { hostname } from "node:os";
import { DmaBufError } from "@peerbar/core";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { draSlices } from "../labels/dra.js";
import { ncclNotes, ncclXml } from "../labels/nccl.js";
import { nfdFile } from "../labels/nfd.js";
import { type NodeFacts, nodeFacts } from "../labels/node.js";
import { prometheusText } from "../labels/prometheus.js";
import { gresConf } from "../labels/slurm.js";
import { labelFormats } from "../labels/verb.js";
import { readSubject } from "../source.js";
import { sourceNotes } from "../source-notes.js";
import { writeAtomically } from "../write-file.js";

export interface LabelsOptions {
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
  readonly format?: string | undefined;
  readonly node?: string | undefined;
  readonly domain?: string | undefined;
  readonly output?: string | undefined;
}

/** `peerbar labels`: one machine in the words of the system that schedules it. */
export async function labels(io: Io, options: LabelsOptions): Promise<ExitCode> {
  const format = labelFormats.find((name) => name === options.format);
  if (format === undefined) {
    throw new DmaBufError(
      "EINVAL",
      "--format",
      options.format === undefined ? "no format was named" : `no format "${options.format}"`,
      { hint: `use one of ${labelFormats.join(", ")}` },
    );
  }
  const node = dnsName("--node", options.node ?? io.env.NODE_NAME ?? hostname().toLowerCase());
  const domain = dnsName("--domain", options.domain ?? "peerbar.github.io");
  const subject = await readSubject(options);
  const facts = nodeFacts(subject);
  const text = makers[format](facts, { node, domain });
  if (options.output === undefined) io.out(text);
  else await writeAtomically(options.output, text);
  const notes = format === "nccl-xml" ? ncclNotes(facts) : [];
  for (const note of notes) io.err(`peerbar: not shown: ${note}\n`);
  for (const note of sourceNotes(subject.topology.source)) io.err(`peerbar: ${note}\n`);
  return exit.ok;
}

interface Names {
  readonly node: string;
  readonly domain: string;
}

const makers: Readonly<
  Record<(typeof labelFormats)[number], (facts: NodeFacts, names: Names) => string>
> = {
  nfd: nfdFile,
  prometheus: prometheusText,
  dra: draSlices,
  "nccl-xml": ncclXml,
  slurm: (facts, { node }) => gresConf(facts, node),
};

/** A DNS subdomain: what Kubernetes takes as the name of a node, and of a driver (which may have 63 characters). */
function dnsName(option: string, text: string): string {
  const label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?";
  const most = option === "--domain" ? 63 : 253;
  if (text.length <= most && new RegExp(`^${label}(\\.${label})*$`).test(text)) return text;
  throw new DmaBufError("EINVAL", option, `"${text}" is no DNS name`, {
    hint: `use lower-case letters, digits, "-" and ".", at most ${String(most)} characters`,
  });
}
