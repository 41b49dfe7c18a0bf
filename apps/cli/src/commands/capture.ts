import { toCapture } from "@peerbar/p2pdma";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { readSubject } from "../source.js";
import { sourceNotes } from "../source-notes.js";
import { writeAtomically } from "../write-file.js";

export interface CaptureOptions {
  readonly file?: string | undefined;
  readonly output?: string | undefined;
}

/** `peerbar capture`: this machine (or `-F FILE`) in the format that `-F` takes. The same input gives the same bytes. */
export async function capture(io: Io, options: CaptureOptions): Promise<ExitCode> {
  const { topology } = await readSubject(options);
  const text = toCapture(topology);
  if (options.output === undefined) io.out(text);
  else await writeAtomically(options.output, text);
  for (const note of sourceNotes(topology.source)) io.err(`peerbar: ${note}\n`);
  if (options.output !== undefined) {
    io.err(`${options.output}: ${String(topology.functions.length)} functions\n`);
  }
  return exit.ok;
}
