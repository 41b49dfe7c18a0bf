/** Exit codes of every verb (README, "Exit codes"). */
export const exit = {
  /** Yes, or done. */
  ok: 0,
  /** No. */
  no: 1,
  /** Usage or bad input. */
  usage: 2,
  /** Cannot tell: privilege or data is missing. */
  unknown: 3,
} as const;

export type ExitCode = (typeof exit)[keyof typeof exit];
