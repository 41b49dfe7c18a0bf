import { DmaBufError, type DmaBufErrorCode, isDmaBufError } from "@peerbar/core";

/** Why the kernel may have answered with an errno, and what to do about it. */
export interface Cause {
  readonly reason: string;
  readonly hint?: string;
  /** The rule of the spec: `"iommufd M15"`. */
  readonly rule: string;
}

/** Causes by errno; those that depend on what was asked are found when the error is there. */
export type Causes = Readonly<Partial<Record<DmaBufErrorCode, Cause | (() => Cause)>>>;

/**
 * Runs a kernel call; where it fails, the error keeps the kernel's errno and call, and gains the cause, the rule and the next step.
 *
 * @param causes - asked only after a failure; an errno that is not in it leaves the error as it is.
 */
export function explained<T>(run: () => T, causes: () => Causes): T {
  try {
    return run();
  } catch (error) {
    throw withCause(error, causes());
  }
}

/** {@link explained} for calls off the main thread. */
export async function explainedAsync<T>(run: () => Promise<T>, causes: () => Causes): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw withCause(error, causes());
  }
}

function withCause(error: unknown, causes: Causes): unknown {
  if (!isDmaBufError(error)) return error;
  const entry = causes[error.code];
  if (entry === undefined) return error;
  const { reason, hint, rule } = typeof entry === "function" ? entry() : entry;
  return new DmaBufError(error.code, error.syscall, `${error.reason}: ${reason}`, {
    hint: hint ?? error.hint,
    rule,
    cause: error,
  });
}
