import { DmaBufError } from "@peerbar/core";

/** Why holding ended. */
export type HoldEnd = "at once" | "time" | "SIGINT" | "SIGTERM" | "SIGHUP";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Seconds of `--hold`; undefined: until a signal.
 *
 * @throws DmaBufError EINVAL where the text is no time.
 */
export function parseHold(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seconds = Number(text);
  // setTimeout counts in 31 bits of milliseconds.
  if (/^\d+(\.\d+)?$/.test(text) && seconds <= 2_147_483) return seconds;
  throw new DmaBufError("EINVAL", "--hold", `"${text}" is no time`, {
    hint: "write seconds, such as 10 or 0.5; leave it out to hold until Ctrl-C",
  });
}

/**
 * Catches the signals that end a program, from now on: what is held is then released in order. A second one is left to the system, for
 * a release that hangs.
 */
export class SignalWatch {
  readonly #first: Promise<HoldEnd>;
  #stop: () => void = () => undefined;

  constructor() {
    this.#first = new Promise((resolve) => {
      const handlers = signals.map((signal) => {
        const handler = (): void => {
          resolve(signal);
          // Not at once: who listens after this one counts the listeners.
          setImmediate(() => {
            this.stop();
          });
        };
        process.on(signal, handler);
        return () => process.off(signal, handler);
      });
      this.#stop = () => {
        for (const off of handlers) off();
      };
    });
  }

  /** Waits for a signal, `seconds` at most. */
  async hold(seconds: number | undefined): Promise<HoldEnd> {
    if (seconds === 0) return "at once";
    let timer: NodeJS.Timeout | undefined;
    const time = new Promise<HoldEnd>((resolve) => {
      // Without a timer nothing would keep the process alive while it waits for a signal.
      timer =
        seconds === undefined
          ? setInterval(() => undefined, 0x7fff_ffff)
          : setTimeout(resolve, seconds * 1000, "time");
    });
    try {
      return await Promise.race([this.#first, time]);
    } finally {
      clearTimeout(timer);
    }
  }

  stop(): void {
    this.#stop();
  }
}
