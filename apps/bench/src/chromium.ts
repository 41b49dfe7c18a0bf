import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { scratchFolder } from "./scratch.js";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** A Chromium on PATH; undefined where there is none. */
export function findChromium(): string | undefined {
  const places = (process.env.PATH ?? "")
    .split(delimiter)
    .flatMap((folder) => names.map((name) => join(folder, name)));
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

interface Answer {
  readonly id?: number;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

/** Seconds for one answer: a browser that hangs is a failure, and no run waits for it. */
const PATIENCE = 60;

/**
 * A Chromium without a window, spoken to by its DevTools protocol over a pipe (file descriptors 3 and 4; messages end with a zero byte): four
 * calls of it are all that timing a page takes.
 */
export class Chromium {
  readonly #process: ChildProcess;
  readonly #profile = scratchFolder();
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #stop = (): void => {
    this.#process.kill("SIGKILL");
  };
  #gone = false;
  #said = "";
  #last = 0;

  constructor(program: string) {
    // Root in a container cannot have the sandbox. No name is resolved: nothing leaves this machine.
    const asRoot = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
    this.#process = spawn(
      program,
      [
        "--headless=new",
        "--remote-debugging-pipe",
        `--user-data-dir=${this.#profile.path}`,
        "--no-first-run",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--window-size=1280,900",
        ...asRoot,
      ],
      { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
    );
    process.once("exit", this.#stop);
    const gone = (): void => {
      this.#gone = true;
      for (const answer of this.#waiting.values()) answer({ error: { message: "Chromium ended" } });
    };
    this.#process.once("error", gone).once("exit", gone);
    (this.#process.stdio[4] as Readable).setEncoding("utf8").on("data", (text: string) => {
      this.#hear(text);
    });
    (this.#process.stdio[3] as Writable).on("error", gone);
  }

  /**
   * Opens an address in a fresh tab, and takes what the script makes of it: an expression whose promise is waited for. It is there before the
   * page's own scripts, and outside of what the page's policy forbids.
   */
  async open(url: string, script: string): Promise<unknown> {
    const { targetId } = await this.#call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.#call("Target.attachToTarget", { targetId, flatten: true });
    const session = sessionId as string;
    await this.#call("Page.enable", {}, session);
    await this.#call(
      "Page.addScriptToEvaluateOnNewDocument",
      { source: `globalThis.seen = ${script}` },
      session,
    );
    await this.#call("Page.navigate", { url }, session);
    const { result } = await this.#call(
      "Runtime.evaluate",
      { expression: "globalThis.seen", awaitPromise: true, returnByValue: true },
      session,
    );
    await this.#call("Target.closeTarget", { targetId });
    return (result as { value?: unknown } | undefined)?.value;
  }

  /** Ends the browser, and takes its profile away. */
  async close(): Promise<void> {
    if (!this.#gone) {
      const ended = new Promise((resolve) => this.#process.once("exit", resolve));
      // Asked to, it ends its helpers first, which write into the profile.
      const asked = setTimeout(this.#stop, 10_000);
      this.#call("Browser.close", {}).catch(() => undefined);
      await ended;
      clearTimeout(asked);
    }
    process.off("exit", this.#stop);
    this.#profile.remove();
  }

  #hear(text: string): void {
    const messages = (this.#said + text).split("\0");
    this.#said = messages.pop() ?? "";
    for (const message of messages) {
      const answer = JSON.parse(message) as Answer;
      // Events have no number.
      if (answer.id === undefined) continue;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    }
  }

  #call(method: string, params: object, sessionId?: string): Promise<Record<string, unknown>> {
    this.#last += 1;
    const id = this.#last;
    return new Promise((resolve, reject) => {
      if (this.#gone) {
        reject(new Error("Chromium ended"));
        return;
      }
      const tired = setTimeout(() => {
        reject(new Error(`Chromium did not answer ${method}`));
      }, PATIENCE * 1000);
      this.#waiting.set(id, ({ result, error }) => {
        clearTimeout(tired);
        if (error === undefined) resolve(result ?? {});
        else reject(new Error(`${method}: ${error.message}`));
      });
      (this.#process.stdio[3] as Writable).write(
        `${JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) })}\0`,
      );
    });
  }
}
