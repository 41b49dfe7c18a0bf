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
  // A reader that stops early (`peerbar matrix | head`) is no failure of ours.
  for (const stream of [stdout, stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit(0);
      throw error;
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
