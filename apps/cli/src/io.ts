import { exit } from "./exit.js";

/** Where a command writes, and what it may assume of the terminal. Tests pass their own. */
export interface Io {
  out(text: string): void;
  err(text: string): void;
  /** Waits until what was written is on its way, where there is much more to come. */
  drain?(): Promise<void>;
  readonly color: boolean;
  /** Columns of the terminal; tables fit into it. */
  readonly width: number;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The process's own streams. Colour only on a terminal, and never with `NO_COLOR` set. */
export function processIo(): Io {
  const { stdout, stderr, env } = process;
  for (const stream of [stdout, stderr]) {
    stream.on("error", ({ code = "EIO" }: NodeJS.ErrnoException) => {
      // A reader that stops early (`peerbar matrix | head`) is no failure of ours.
      if (code === "EPIPE") process.exit(exit.ok);
      // An answer that nobody received is none: the exit code must not be read as one.
      if (stream === stdout) {
        stderr.write(
          `peerbar: ${code}: write: standard output cannot be written; make room, or send it elsewhere\n`,
        );
      }
      process.exit(exit.usage);
    });
  }
  return {
    out: (text) => stdout.write(text),
    err: (text) => stderr.write(text),
    drain: () =>
      new Promise((resolve) => {
        if (stdout.writableNeedDrain) stdout.once("drain", resolve);
        else resolve();
      }),
    color: stdout.isTTY && (env.NO_COLOR ?? "") === "",
    // Some terminals (serial lines, `script`) report no width.
    width: stdout.isTTY ? stdout.columns || 80 : 100,
    env,
  };
}
