import { parentPort, workerData } from "node:worker_threads";
import { isDmaBufError } from "@peerbar/core";
import { type Request, runSession } from "./session.js";
import type { FromThread } from "./thread.js";

/** Milliseconds between signs of life. */
const BEAT = 250;

const stop = new AbortController();
parentPort?.on("message", () => {
  stop.abort();
});
let beat: ReturnType<typeof setInterval> | undefined;

try {
  const results = await runSession(
    workerData as Request,
    (scenario, progress) => {
      send({ type: "progress", scenario, progress });
    },
    stop.signal,
    // Not before: a module whose import never ends is no sign of life.
    () => {
      send({ type: "loaded" });
      beat = setInterval(() => {
        send({ type: "alive" });
      }, BEAT);
    },
  );
  send({ type: "done", results });
} catch (error) {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  send({
    type: "failed",
    stack,
    reason: isDmaBufError(error) ? error.reason : message,
    hint: isDmaBufError(error) ? error.hint : undefined,
    input: isDmaBufError(error),
  });
} finally {
  clearInterval(beat);
  parentPort?.close();
}

function send(message: FromThread): void {
  parentPort?.postMessage(message);
}
