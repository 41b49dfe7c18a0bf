import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { Progress } from "@peerbar/conformance/explore";
import { DmaBufError } from "@peerbar/core";
import { type Request, type Results, runSession } from "./session.js";

/** What the thread says. */
export type FromThread =
  | { readonly type: "loaded" | "alive" }
  | { readonly type: "progress"; readonly scenario: string; readonly progress: Progress }
  | { readonly type: "done"; readonly results: Results }
  | {
      readonly type: "failed";
      readonly reason: string;
      readonly hint: string | undefined;
      readonly stack: string | undefined;
      /** The user's input is at fault. */
      readonly input: boolean;
    };

// Beside the bundle; from sources there is none, and the work is done here.
const script = fileURLToPath(new URL("./explore-worker.js", import.meta.url));

/**
 * Runs the session in a thread of its own, so that a step that never ends cannot take this process along.
 *
 * @throws DmaBufError as {@link runSession}; ETIMEDOUT where a step takes longer than `hangSeconds`.
 */
export async function runInThread(
  request: Request,
  hangSeconds: number,
  tell: (scenario: string, progress: Progress) => void,
  signal: AbortSignal,
): Promise<Results> {
  if (!existsSync(script)) return runSession(request, tell, signal);
  const thread = new Worker(script, { workerData: request });
  try {
    return await new Promise<Results>((resolve, reject) => {
      let scenario = request.file ?? "explore";
      let loading = true;
      const hung = (): void => {
        reject(loading ? neverLoads(scenario, hangSeconds) : hangs(scenario, hangSeconds));
      };
      let watchdog = setTimeout(hung, hangSeconds * 1000);
      const stop = (): void => {
        thread.postMessage("stop");
      };
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop, { once: true });
      thread.on("error", reject);
      thread.on("message", (message: FromThread) => {
        clearTimeout(watchdog);
        loading = false;
        if (message.type === "done") resolve(message.results);
        else if (message.type === "failed") reject(failed(message));
        else {
          if (message.type === "progress") {
            scenario = message.scenario;
            tell(scenario, message.progress);
          }
          watchdog = setTimeout(hung, hangSeconds * 1000);
        }
      });
      thread.on("exit", () => {
        clearTimeout(watchdog);
        reject(new DmaBufError("EINVAL", "explore", "the scenario ended the process"));
      });
    });
  } finally {
    await thread.terminate();
  }
}

function neverLoads(file: string, seconds: number): DmaBufError {
  return new DmaBufError("ETIMEDOUT", "explore", `${file} is not loaded after ${seconds} s`, {
    hint: "its import waits for something that never comes, or loops; --hang waits longer",
  });
}

function hangs(scenario: string, seconds: number): DmaBufError {
  return new DmaBufError(
    "ETIMEDOUT",
    "explore",
    `"${scenario}": a step has not ended for ${seconds} s`,
    {
      hint: "an actor loops without a wait, or awaits only what is ready already; --hang waits longer",
    },
  );
}

function failed({ reason, hint, stack, input }: Extract<FromThread, { type: "failed" }>): Error {
  const error = input
    ? new DmaBufError("EINVAL", "explore", reason, hint === undefined ? {} : { hint })
    : new Error(reason);
  if (stack !== undefined) error.stack = stack;
  return error;
}
