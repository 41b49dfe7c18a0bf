import { Format, SingleBar } from "cli-progress";

/** Shows how far long work is. */
export interface Progress {
  /** `done` of `total` items; a total that is not known yet may grow. */
  update(done: number, total: number): void;
  /** Removes the bar: what is printed next begins on its line. */
  stop(): void;
}

const silent: Progress = { update: () => undefined, stop: () => undefined };

/**
 * A progress bar on stderr where that is a terminal, nothing where it is a file, a pipe or a CI log.
 *
 * @param what - What is counted, in the plural: `captures`.
 */
export function makeProgress(what: string, stream: NodeJS.WriteStream = process.stderr): Progress {
  if (!stream.isTTY) return silent;
  const bar = new SingleBar({
    // Short enough for 40 columns.
    format: `{bar} {value}/{total} ${what}, {eta_formatted} left`,
    barsize: 20,
    barCompleteChar: "#",
    barIncompleteChar: ".",
    hideCursor: true,
    clearOnComplete: true,
    stream,
    formatTime: (seconds, options, round) =>
      Number.isFinite(seconds) ? Format.TimeFormat(seconds, options, round) : "?",
  });
  bar.start(0, 0);
  return {
    update: (done, total) => {
      bar.setTotal(total);
      bar.update(done);
    },
    stop: () => {
      bar.stop();
    },
  };
}
