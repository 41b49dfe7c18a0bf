/** Tells on stderr what runs: one line that changes on a terminal, a line each elsewhere. */
export class Progress {
  readonly #total: number;
  readonly #write: (text: string) => void;
  readonly #terminal: boolean;
  #done = 0;

  constructor(total: number, write: (text: string) => void) {
    this.#total = total;
    this.#write = write;
    this.#terminal = process.stderr.isTTY && process.env.CI === undefined;
  }

  start(id: string): void {
    const at = `${String(this.#done + 1)}/${String(this.#total)}`;
    this.#done += 1;
    if (!this.#terminal) {
      this.#write(`bench: ${at} ${id} ...\n`);
      return;
    }
    const width = 24;
    const full = Math.round((width * (this.#done - 1)) / this.#total);
    const bar = "#".repeat(full) + ".".repeat(width - full);
    this.#write(`\r\u001b[K[${bar}] ${at} ${id}`);
  }

  /** A line that stays. */
  say(text: string): void {
    this.#write(`${this.#terminal ? "\r\u001b[K" : ""}bench: ${text}\n`);
  }

  end(): void {
    if (this.#terminal) this.#write("\r\u001b[K");
  }
}
