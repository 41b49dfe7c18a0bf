import { constants } from "node:os";
import { DmaBufError, type ErrnoName, errnos } from "@peerbar/core";
import { library } from "./library.js";

const names = new Map<number, ErrnoName>(
  Object.entries(errnos).map(([name, value]) => [-value, name as ErrnoName]),
);

/** errno's number to its name; undefined for one that core does not list. */
export function errnoName(errno: number): ErrnoName | undefined {
  return names.get(errno);
}

/** errno as the last call of this thread left it; koffi keeps it for asynchronous calls until their callback has run. */
export function lastErrno(syscall: string): number {
  return library(syscall).errno();
}

/** What a failing call adds to its errno. */
export interface FailureContext {
  /** What was asked for: `"fd 7"`, `"/dev/iommu"`. */
  readonly what: string;
  readonly hint?: string | undefined;
}

/** The error for a call that returned -1. An errno that core has no name for becomes EIO, its number and name in the reason. */
export function failure(syscall: string, errno: number, context: FailureContext): DmaBufError {
  const code = errnoName(errno);
  const options = { hint: context.hint };
  if (code) return new DmaBufError(code, syscall, context.what, options);
  const known = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0];
  const reason = `${context.what}: errno ${errno}${known ? ` (${known})` : ""}`;
  return new DmaBufError("EIO", syscall, reason, options);
}
