/** The lab talks on stderr; stdout belongs to the job. */
export function say(text) {
  process.stderr.write(`lab: ${text}\n`);
}

/** Something the user can mend; printed as one line, without a stack. */
export class LabError extends Error {
  /** @param {string} text @param {number} [exitCode] 2 bad input, 3 the lab cannot run here */
  constructor(text, exitCode = 3) {
    super(text);
    this.exitCode = exitCode;
  }
}

/** Says again and again how long something takes, on one line where stderr is a terminal. */
export class Progress {
  #timer;
  #started = Date.now();
  #last = "";

  /** @param {string} title @param {() => string} detail */
  constructor(title, detail = () => "") {
    const every = process.stderr.isTTY ? 1000 : 20_000;
    this.title = title;
    this.#timer = setInterval(() => {
      const text = `lab: ${title} ${this.seconds} s ${detail()}`.trimEnd();
      if (text === this.#last) return;
      this.#last = text;
      process.stderr.write(process.stderr.isTTY ? `\r\x1b[2K${text.slice(0, 150)}` : `${text}\n`);
    }, every);
    this.#timer.unref();
  }

  get seconds() {
    return Math.round((Date.now() - this.#started) / 1000);
  }

  end(text = "done") {
    clearInterval(this.#timer);
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[2K");
    say(`${this.title}: ${text} (${this.seconds} s)`);
  }
}
