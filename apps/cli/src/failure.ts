import { DmaBufError, isDmaBufError } from "@peerbar/core";
import { plainText } from "@peerbar/p2pdma";
import { type ExitCode, exit } from "./exit.js";
import type { Io } from "./io.js";

/** Data is missing, so there is no answer: exit 3 instead of 2. */
export class CannotTell extends DmaBufError {
  override readonly name: string = "CannotTell";
}

/** What a user is told, on one line: errno name, cause, next step. */
export function failureText(error: unknown): string {
  if (isDmaBufError(error)) {
    const next = error.hint === undefined ? "" : `; ${error.hint}`;
    return oneLine(`${error.code}: ${error.syscall}: ${error.reason}${next}`);
  }
  const message = error instanceof Error ? error.message : String(error);
  return `internal error: ${oneLine(message)}; run again with --debug for the stack, and report it`;
}

/** Prints the line (and the stack with `--debug`) and tells the exit code. */
export function reportFailure(io: Io, error: unknown, debug: boolean): ExitCode {
  io.err(`peerbar: ${failureText(error)}\n`);
  if (debug && error instanceof Error) io.err(`${error.stack ?? ""}\n`);
  // A defect of this tool answers nothing: neither yes nor no.
  if (!isDmaBufError(error)) return exit.unknown;
  return error.name === "CannotTell" || error.code === "EACCES" || error.code === "EPERM"
    ? exit.unknown
    : exit.usage;
}

function oneLine(text: string): string {
  return plainText(text.replace(/\s*\n\s*/g, " "));
}
