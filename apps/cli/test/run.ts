import type { ExitCode } from "../src/exit.js";
import { run } from "../src/main.js";

/** What one command line did. */
export interface Outcome {
  readonly code: ExitCode;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line in this process, with streams of its own: no colour, 100 columns. */
export async function runCli(...argv: string[]): Promise<Outcome> {
  let out = "";
  let err = "";
  const code = await run(argv, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    color: false,
    width: 100,
    env: {},
  });
  return { code, out, err };
}
